"""A given autoencoder's folder before diffusers opens it: what it holds, and what its config says of the numbers."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import parse_json_once
from dit_scaling.common.foreign import name_foreign_file

CONFIG = "config.json"
WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
INSIDE = {"vae": "a whole pipeline", "autoencoder": "the vae stage of a study"}
"""Folders inside of what is named in the place of an autoencoder, and what that is."""
APPLIED = frozenset(
    {
        "act_fn",
        "block_out_channels",
        "down_block_types",
        "force_upcast",
        "in_channels",
        "latent_channels",
        "layers_per_block",
        "mid_block_add_attention",
        "norm_num_groups",
        "out_channels",
        "sample_size",
        "scaling_factor",
        "up_block_types",
        "use_post_quant_conv",
        "use_quant_conv",
    }
)
"""Keys of an AutoencoderKL's config that are applied, by diffusers or, the scale, by this package."""
NOT_APPLIED = ("shift_factor", "latents_mean", "latents_std")
"""Keys that shift or scale latents otherwise; only a scale alone is applied here."""


def read_vae_config(folder: Path) -> dict[str, Any]:
    """The config of the AutoencoderKL in ``folder``.

    Raises:
        UserError: it is missing, or there is no autoencoder or none that is applied as its config says; says what the
            folder holds instead.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise UserError(f"{folder} holds no autoencoder: {CONFIG} is missing{_instead(folder)}")
    try:
        config = parse_json_once(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}.") from None
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}). Repair it, or get the folder again.") from None
    kind = config.get("_class_name") if isinstance(config, dict) else None
    if kind != "AutoencoderKL":
        raise UserError(f"{path} describes {kind or 'no model'}, not a diffusers AutoencoderKL.")
    problem = config_problem(config)
    if problem is not None:
        raise UserError(f"{path}: {problem}.")
    for file in (folder / name for name in WEIGHTS):
        if foreign := name_foreign_file(file):
            raise UserError(f"{file} holds no weights but {foreign}.")
    if not any((folder / name).is_file() for name in WEIGHTS) and not list(folder.glob("*.index.json")):
        raise UserError(f"{folder} cannot be loaded as an AutoencoderKL: it has no {WEIGHTS[0]}{_instead(folder)}")
    return dict(config)


def config_problem(config: Mapping[str, Any]) -> str | None:
    """Why an AutoencoderKL's latents would not be the ones it was made for; None where they are."""
    for key in NOT_APPLIED:
        if config.get(key):
            return f"{key} is {config[key]!r}: it shifts its latents, and only autoencoders with a scale alone are used"
    if "scaling_factor" in config and not _is_scale(config["scaling_factor"]):
        return f"scaling_factor is {config['scaling_factor']!r}, not a positive number"
    for key in sorted(config.keys() - APPLIED - set(NOT_APPLIED)):
        if not key.startswith("_") and config[key] is not None:
            return f"{key} is unknown here, and might change what the autoencoder computes"
    return None


def _is_scale(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def _instead(folder: Path) -> str:
    """What the folder holds instead, and what to do; ends the sentence."""
    for name, whole in INSIDE.items():
        if (folder / name / CONFIG).is_file():
            return f". It is {whole}; the autoencoder is in {folder / name}: name that folder."
    if (folder / "vae.json").is_file():
        return f". It is the vae stage of a study with a given autoencoder: {folder / 'vae.json'} says where that is."
    if not folder.is_dir():
        return (
            ". Where there is a network, `dit-scaling prefetch CONFIG` fetches a VAE that the config names by hub id."
        )
    held = sorted(path.name for path in folder.iterdir() if path.suffix in (".safetensors", ".bin", ".pt", ".ckpt"))
    half = [name for name in held if ".fp16." in name]
    if half:
        return (
            f", but {', '.join(half)}: its weights in half precision. Get those in full precision, which latents and "
            "distances need."
        )
    return f"; of weights it holds {', '.join(held) or 'none'}. Get the folder again, whole."
