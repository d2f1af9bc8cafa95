"""Seals: the sha256 of every file that a stage left, recorded as it was made, and compared as it is read.

Below a study's folder, or a run's, the folder `.seals` holds a small file for each, at the same relative path, in the
form that `sha256sum` writes. A file without a seal is nobody's result and passes.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import atomic_path, sha256_file

SEALS = ".seals"


def seal(paths: Iterable[Path], root: Path) -> None:
    """Record the sha256 of files as they are now; those that do not lie below ``root`` are left out."""
    for path in paths:
        if path.is_relative_to(root):
            with atomic_path(_seal_below(root, path)) as temporary:
                temporary.write_text(f"{sha256_file(path)}  {path.relative_to(root)}\n")


def forget(path: Path) -> None:
    """Drop the seal of a file that is about to be made anew, or was deleted."""
    for folder in path.parents:
        if (folder / SEALS).is_dir():
            _seal_below(folder, path).unlink(missing_ok=True)
            return


def check_seals(paths: Iterable[Path]) -> None:
    """See that files are as they were left by what made them.

    Raises:
        UserError: the first that is not.
    """
    for path in paths:
        if complaint := broken(path):
            raise UserError(complaint)


def broken(path: Path) -> str | None:
    """What is wrong with a file that is not as it was left; None where it is, or where nobody vouches for it."""
    recorded = recorded_sha256(path)
    if recorded is None or not path.is_file():
        return None
    try:
        found = sha256_file(path)
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}. Make it again: snakemake --cores 1 --force {path}"
    if found == recorded:
        return None
    return (
        f"{path} is not as the job that made it left it: its sha256 is {found}, and the recorded one is "
        f"{recorded or 'unreadable'}. It, or its seal, was damaged or edited. Make it again: "
        f"snakemake --cores 1 --force {path}"
    )


def recorded_sha256(path: Path) -> str | None:
    """The sha256 that a file had when it was made; None where none is recorded, "" where the record is unreadable."""
    for folder in path.parents:
        if (folder / SEALS).is_dir():
            try:
                words = _seal_below(folder, path).read_text().split()
            except FileNotFoundError:
                return None
            except (OSError, UnicodeDecodeError):
                return ""
            return words[0] if words else ""
    return None


def sealed_files(root: Path) -> Iterator[Path]:
    """Every file below ``root`` that has a seal, whether it is still there or not, in the order of their names."""
    for holder in sorted(root.rglob(SEALS)):
        for path in sorted(holder.rglob("*")):
            if path.is_file():
                yield holder.parent / path.relative_to(holder)


def _seal_below(root: Path, path: Path) -> Path:
    return root / SEALS / path.relative_to(root)
