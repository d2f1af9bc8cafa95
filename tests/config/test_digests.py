"""The digests of the shipped studies: what a finished study is known by, and must be known by in later versions.

As a program it writes `digests.json` anew, or prints what it would write.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from dit_scaling.config import Stages, load_study
from dit_scaling.config.metrics_settings import GivenNetwork
from dit_scaling.config.yaml_file import read_yaml

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).with_name("digests.json")
EMBEDDED = ROOT / "config" / "config.yaml"
SHAPES = ROOT / "config" / "shapes.yaml"
CONFIGS = sorted((ROOT / "config").glob("*.yaml"))

METRICS = ("fd", "kid")

RULE = (
    "Finished studies would run these stages again. A key that is new keeps their digests with "
    "Annotated[..., Before(what held before)] beside its type (common/section.py). Where the change is meant, or a "
    "config was edited, write the file anew with `make digests`; if anything but a config's own text changed, say in "
    "CHANGELOG.md what runs again."
)


def digests_of(path: Path) -> dict[str, str]:
    """Digest of every kind of stage of a study, with fixed fingerprints of what is given."""
    whole = "vae" in read_yaml(path)  # others are laid over the embedded study, or that of shapes
    base = SHAPES if path.name.startswith("shapes") else EMBEDDED
    study = load_study(path) if whole else load_study(base, path)
    kinds = [extractor.kind for extractor in study.metrics.extractors]
    given = [e.kind for e in study.metrics.extractors if isinstance(e, GivenNetwork) and e.reference is not None]
    stages = Stages(study, "images", "vae", dict.fromkeys(study.checkpoints, "weights"), dict.fromkeys(given, "npz"))
    slugs = [study.variant(name).slug for name in study.variants]
    seed, step, scale = study.training.seeds[0], study.training.steps, study.sampling.guidance_scales[-1]
    settings = {
        "data": stages.data(),
        "vae": stages.vae(),
        "latents": stages.latents(),
        "preflight": stages.preflight(),
        **{f"extractor {e.kind}": stages.extractor(e.kind) for e in study.metrics.extractors},
        **{f"reference {e.kind}": stages.reference(e.kind) for e in study.metrics.extractors},
        **{f"train {slug}": stages.train(slug, seed) for slug in slugs},
        "losses": stages.losses(slugs[0], seed),
        "gate": stages.gate(slugs[0], seed, step),
        "sample": stages.sample(slugs[0], seed, step, scale),
        **{f"features {kind}": stages.features(slugs[0], seed, step, scale, kind) for kind in kinds},
        # A metric that is added is meant to be measured, from kept features: here the list stays what it is.
        "levels": stages.levels(kinds[0], METRICS),
        "score": stages.score(slugs[0], seed, step, scale, METRICS),
        "memorisation": stages.memorisation(slugs[0], seed, step, scale),
        "aggregate": stages.aggregate(),
        "report": stages.report(),
    }
    return {name: part.digest for name, part in settings.items()}


def all_digests() -> dict[str, dict[str, str]]:
    return {path.name: digests_of(path) for path in CONFIGS}


def differences(found: Mapping[str, Mapping[str, str]], golden: Mapping[str, Mapping[str, str]]) -> list[str]:
    """`config: stage` of every digest that is new, gone or another."""
    rows = [{(config, *row) for config in some for row in some[config].items()} for some in (found, golden)]
    return sorted({f"{config}: {stage}" for config, stage, _ in rows[0] ^ rows[1]})


def read_golden() -> dict[str, dict[str, str]]:
    golden: dict[str, dict[str, str]] = json.loads(GOLDEN.read_text())
    return golden


def changed_source(folder: Path, file: str, old: str, new: str) -> dict[str, dict[str, str]]:
    """The digests by a copy of the package in which ``old`` of a file is ``new``."""
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "src" / "dit_scaling" / file
    assert path.read_text().count(old) == 1
    path.write_text(path.read_text().replace(old, new))
    command = [sys.executable, __file__, "--print"]
    run = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(folder / "src")}, capture_output=True, text=True, check=True
    )
    found: dict[str, dict[str, str]] = json.loads(run.stdout)
    return found


def test_the_shipped_studies_have_the_digests_that_they_had() -> None:
    changed = differences(all_digests(), read_golden())
    assert not changed, f"{', '.join(changed)}: other digests than in {GOLDEN.name}. {RULE}"


FIELD = "    batch_size: Count = 256\n"
BEFORE = 'Annotated[str, __import__("dit_scaling.common.section").common.section.Before("none")]'


def test_a_new_key_with_the_value_of_before_keeps_every_digest(tmp_path: Path) -> None:
    added = f'{FIELD}    later: {BEFORE} = "none"\n'
    assert differences(changed_source(tmp_path, "config/recipe.py", FIELD, added), read_golden()) == []


@pytest.mark.parametrize(
    "added",
    [f'{FIELD}    later: {BEFORE} = "another"\n', f'{FIELD}    later: str = "none"\n', "    batch_size: Count = 128\n"],
    ids=["other default than before", "nothing said of before", "changed default"],
)
def test_another_default_is_noticed(tmp_path: Path, added: str) -> None:
    changed = differences(changed_source(tmp_path, "config/recipe.py", FIELD, added), read_golden())
    assert "dit-xl2-released.yaml: train DiT-XL-2" in changed
    assert not any("latents" in stage for stage in changed)


if __name__ == "__main__":
    text = json.dumps(all_digests(), indent=2) + "\n"
    if "--print" in sys.argv[1:]:
        sys.stdout.write(text)
    else:
        GOLDEN.write_text(text)
