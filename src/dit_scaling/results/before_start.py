"""What is seen to before Snakemake opens or writes anything; profiles/default calls it with the command line."""

import atexit
import os
import shutil
import sys
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from dit_scaling.common.errors import UserError
from dit_scaling.config.yaml_file import read_yaml

OWN = ".snakemake"
"""Snakemake's own folder, below the one that it is started in."""
LOOKS = (
    *("dryrun", "summary", "detailed_summary", "report", "dag", "rulegraph", "filegraph", "d3dag", "lint"),
    *("list_rules", "list_target_rules", "list_untracked", "list_changes", "list_input_changes", "list_params_changes"),
)
"""Options of Snakemake that make nothing in the results."""


def before_start(asked: Namespace) -> str | None:
    """See to config files, caches, and a place for what Snakemake writes when it only looks.

    Args:
        asked: Snakemake's options, by the names that it gives them.

    Returns:
        the folder to start in; None where that is the present one. Bad input ends the process with code 2.
    """
    try:
        refuse_bad_files(asked.configfile)
        refuse_full_temporary_folder()
        find_cache()
        if asked.directory is not None:
            return None
        looks = any(getattr(asked, name) for name in LOOKS)
        folder = folder_to_look_from(Path.cwd(), looks, asked.report or None)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
    return str(folder) if folder else None


def refuse_bad_files(config_files: Sequence[Path]) -> None:
    """See that the files of --configfile can be read: Snakemake would wait for a pipe, and write every alias out.

    Raises:
        UserError: a file is not as `read_yaml` wants it.
    """
    for path in config_files:
        try:
            read_yaml(path)
        except UserError as error:
            if path.exists() or path is config_files[0]:
                raise
            hint = "Every word after --configfile is taken for a file: what to make stands before it."
            raise UserError(f"{error} {hint}") from None


def refuse_full_temporary_folder() -> None:
    """See that temporary files can be written, of which Snakemake makes many.

    Raises:
        UserError: they cannot.
    """
    try:
        with tempfile.TemporaryFile() as scratch:
            scratch.write(bytes(1 << 20))
    except OSError as error:
        raise UserError(
            f"no temporary file can be written: {error.strerror}. Make room, or set TMPDIR to a folder."
        ) from None


def find_cache() -> None:
    """Have caches in a temporary folder where none can be written at home, as in some containers."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))  # noqa: PTH111, "~" may stay
    if not cache.is_absolute() or _fault_of_writing(cache):
        os.environ["XDG_CACHE_HOME"] = str(_temporary_folder())


def folder_to_look_from(folder: Path, looks: bool, report: Path | None) -> Path | None:
    """A folder that can be written and shows what ``folder`` does; None where that can be written itself.

    Args:
        folder: where Snakemake was started, an absolute path.
        looks: whether it is asked to look only.
        report: the file that it is to write, if it is.

    Raises:
        UserError: ``folder`` cannot be written, though it has to be.
    """
    fault = _fault_of_writing(folder / OWN)
    if fault is None:
        return None
    if not looks:
        raise UserError(
            f"{folder} cannot be written: {fault}. To look needs no writing (-n, --summary, --report, dit-scaling "
            "status); to run the study, copy it to a folder of yours."
        )
    if report is not None and not report.is_absolute():
        raise UserError(f"{folder} cannot be written: {fault}. Name a file elsewhere: --report /tmp/{report.name}")
    return _mirror(folder)


def _mirror(folder: Path) -> Path:
    """A folder of links from which every relative path leads where it did."""
    root = _temporary_folder()
    for parent in (*reversed(folder.parents), folder):
        place = root / parent.relative_to(folder.anchor)
        place.mkdir(exist_ok=True)
        with suppress(OSError), os.scandir(parent) as entries:
            for entry in entries:
                if not folder.is_relative_to(entry.path) and entry.path != str(folder / OWN):
                    (place / entry.name).symlink_to(entry.path)
    (place / OWN).mkdir()
    for records in ("metadata", "incomplete"):
        if _is_readable(folder / OWN / records):
            (place / OWN / records).symlink_to(folder / OWN / records)
    return place


def _temporary_folder() -> Path:
    """A folder for as long as this process lives."""
    folder = Path(tempfile.mkdtemp(prefix="dit-scaling-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _fault_of_writing(folder: Path) -> str | None:
    """Why no file can be written in a folder, which is made where it is missing; None where one can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        return os.strerror(error.errno or 0)
    return None


def _is_readable(folder: Path) -> bool:
    """Whether the files in a folder can be read, by the first of them: Snakemake hides them from other users."""
    if not os.access(folder, os.R_OK | os.X_OK):
        return False
    return all(os.access(path, os.R_OK) for path in next(([path] for path in folder.rglob("*") if path.is_file()), []))
