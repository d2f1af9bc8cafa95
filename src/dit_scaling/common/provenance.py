"""Where a result comes from, written beside it."""

import importlib.metadata
import platform
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import read_json, sha256_file, write_json
from dit_scaling.common.seals import recorded_sha256

LIBRARIES = ("torch", "diffusers", "numpy", "scipy", "webdataset", "clean-fid", "snakemake")


def write_provenance(
    output: Path,
    *,
    settings_digest: str,
    settings: Any,
    inputs: Iterable[Path],
    device: str,
    facts: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Write settings, their digest, inputs' sha256, versions, git commit and device as JSON.

    ``settings`` carries the seeds. No time of day: equal runs write equal files. A job compares its inputs with their
    seals as it begins, so what these record is not computed again. ``facts`` are further ones of the job.
    """
    write_json(
        output,
        {
            "settings_digest": settings_digest,
            "settings": settings,
            "inputs": {str(path): recorded_sha256(path) or sha256_file(path) for path in inputs if path.is_file()},
            "device": device,
            **facts,
            "versions": {name: importlib.metadata.version(name) for name in ("dit-scaling", *LIBRARIES)},
            "python": platform.python_version(),
            "git_commit": git_commit(),
        },
    )


def settings_digest(record: Path) -> str | None:
    """The digest of the settings that a JSON record beside a result was made with; None where it holds none."""
    try:
        content = read_json(record)
    except UserError:
        return None
    digest = content.get("settings_digest") if isinstance(content, dict) else None
    return digest if isinstance(digest, str) else None


def git_commit() -> str | None:
    """Commit of the checkout that this package runs from, marked if it has local changes; None outside git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return answer.stdout.strip() or None


def recorded_inputs(path: Path) -> frozenset[str]:
    """The inputs that a provenance file names; none where it is missing or broken."""
    try:
        return frozenset(map(str, read_json(path)["inputs"]))
    except (UserError, KeyError, TypeError):
        return frozenset()
