"""Where the states of a study's runs lie, and from which steps they go on; read without torch."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import read_json
from dit_scaling.config.stages import TrainSettings

EXPORTS = ("raw.safetensors", "ema.safetensors", "metrics.jsonl")
"""What a milestone leaves in its folder."""


def find_state_folders(results: Path) -> dict[str, Path]:
    """Folders below a study's ``results`` of runs on its latents of now, by the digest of their training settings."""
    try:
        latents = read_json(results / "latents" / "manifest.json")["content"]
    except UserError:
        return {}
    found = {}
    for path in results.glob("states/*/settings.json"):
        try:
            facts = read_json(path)
            if facts["latents"] == latents:
                found[TrainSettings.parse(json.dumps(facts["settings"])).digest] = path.parent
        except (UserError, KeyError, TypeError, ValueError):
            continue  # of another version, or being written
    return found


def saved_steps(folder: Path) -> list[int]:
    """Steps of the states in a run's folder that have a checksum, ascending."""
    return sorted(_numbered(folder, "state-*.json", r"state-(\d+)\.json"))


def exported_steps(folder: Path) -> list[int]:
    """Steps whose exports are in a run's folder, ascending; these need no training."""
    steps = _numbered(folder, "step-*", r"step-(\d+)")
    return sorted(step for step in steps if all((folder / f"step-{step}" / name).is_file() for name in EXPORTS))


def _numbered(folder: Path, files: str, name: str) -> Iterator[int]:
    matches = (re.fullmatch(name, path.name) for path in folder.glob(files))
    return (int(match[1]) for match in matches if match)
