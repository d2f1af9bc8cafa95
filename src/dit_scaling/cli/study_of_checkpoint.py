"""The study that a checkpoint lies in: STUDY/VARIANT/seed-S/step-N/ema.safetensors."""

from pathlib import Path

from dit_scaling.common.errors import UserError


def require_in_study(checkpoint: Path, file: str, option: str) -> Path:
    """A file of the study that a checkpoint lies in, named relative to the study's folder.

    Raises:
        UserError: it lies in no study with that file (the message names the ``option`` that gives it), or is not there.
    """
    path = _find(checkpoint, file)
    if path is None:
        raise UserError(f"{checkpoint} lies in no study with a {file}. Name it with {option}.")
    return path


def find_class_names(checkpoint: Path) -> list[str]:
    """The names of the classes of the study that a checkpoint lies in; none where it lies in none.

    Raises:
        UserError: it does not exist.
    """
    from dit_scaling.common.files import read_json

    vae = _find(checkpoint, "vae/vae.json")
    facts = vae.parents[1] / "data/data.json" if vae else None
    return list(read_json(facts)["class_names"]) if facts and facts.is_file() else []


def find_vae(checkpoint: Path) -> str:
    """The autoencoder that an exported pipeline holds, or that of the study.

    Raises:
        UserError: there is neither, or no such checkpoint.
    """
    inside = checkpoint / "vae"
    return str(inside if inside.is_dir() else require_in_study(checkpoint, "vae/vae.json", "--vae"))


def _find(checkpoint: Path, file: str) -> Path | None:
    if not checkpoint.exists():
        raise UserError(f"{checkpoint} does not exist. Give weights that are there.")
    return next((path for folder in checkpoint.resolve().parents if (path := folder / file).is_file()), None)
