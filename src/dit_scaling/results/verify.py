"""Whether a study's files are still as its jobs left them; everything is read, and nothing is changed."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import leftovers, read_json, sha256_file
from dit_scaling.common.progress import track
from dit_scaling.common.seals import recorded_sha256, sealed_files
from dit_scaling.common.words import count

STATE = re.compile(r"state-\d+\.json")


@dataclass(frozen=True)
class Verification:
    """What was read, and what of it is not as it was left."""

    files: int
    damaged: tuple[Path, ...]
    """Results; a job makes each of them."""
    states: tuple[Path, ...]
    """Training states; a run resumes from those before them."""
    halves: tuple[Path, ...]
    """What killed jobs left half-written, or running ones are writing; harmless."""


def verify(results: Path) -> Verification:
    """Compare every file below a study's folder with what is recorded of it.

    Results with their seals, shards with the manifest, training states with their checksums.

    Raises:
        UserError: there is no such folder, or nothing in it has a record.
    """
    if not results.is_dir():
        raise UserError(f"{results} is no folder of results. Name one, such as results/embedded.")
    expected = dict(_recorded(results))
    if not expected:
        raise UserError(f"Nothing in {results} has a record of its content: its jobs were run by an earlier version.")
    damaged = [
        path
        for path, sha256 in track(sorted(expected.items()), len(expected), "files compared")
        if not _is_same(path, sha256)
    ]
    states = results / "states"
    return Verification(
        len(expected),
        tuple(path for path in damaged if not path.is_relative_to(states)),
        tuple(path for path in damaged if path.is_relative_to(states)),
        tuple(leftovers(results)),
    )


def describe_verification(found: Verification, results: Path) -> str:
    """The findings, and the commands that repair them."""
    lines = [f"{path} is not as it was left." for path in (*found.damaged, *found.states)]
    if found.states:
        names = " ".join(map(str, found.states))
        lines.append(f"Delete these; a run resumes from an earlier state, or from its start:\n  rm {names}")
    if found.damaged:
        names = " ".join(map(str, found.damaged))
        lines.append(
            f"Make these again, and with the study's next run all that depends on them:\n"
            f"  snakemake --cores 1 --force {names}"
        )
    if found.halves:
        names = " ".join(map(str, found.halves))
        lines.append(f"Half-written by jobs that were killed, or that run now, and read by none: {names}")
        lines.append("`dit-scaling clean` deletes those of killed jobs, once nothing runs.")
    damaged = len(found.damaged) + len(found.states)
    lines.append(f"{results}: {count(found.files, 'file')} read, {damaged} of them damaged.")
    return "\n".join(lines)


def _recorded(results: Path) -> Iterator[tuple[Path, str]]:
    """Files that are there, and the sha256 that each must have; "" where the record is unreadable."""
    for path in sealed_files(results):
        if path.is_file():
            yield path, recorded_sha256(path) or ""
    manifest = results / "latents" / "manifest.json"
    if manifest.is_file():
        yield from _shards(manifest)
    for record in results.glob("states/*/state-*.json"):
        if STATE.fullmatch(record.name):
            tensors = record.with_suffix(".safetensors")
            yield tensors, _field(record)


def _shards(manifest: Path) -> Iterator[tuple[Path, str]]:
    try:
        for split in read_json(manifest)["splits"].values():
            for shard in split["shards"]:
                yield manifest.parent / str(shard["file"]), str(shard["sha256"])
    except (UserError, KeyError, TypeError, AttributeError):
        yield manifest, ""


def _field(record: Path) -> str:
    try:
        return str(read_json(record)["sha256"])
    except (UserError, KeyError, TypeError):
        return ""


def _is_same(path: Path, sha256: str) -> bool:
    try:
        return sha256_file(path) == sha256
    except OSError:
        return False
