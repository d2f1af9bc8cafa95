"""Which Parquet files of a folder a study reads: one split of a data set, whole. Opens none of them."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dit_scaling.common.errors import UserError
from dit_scaling.config.image_settings import Parquet
from dit_scaling.data.hub_record import require_fetched
from dit_scaling.data.listing import files_below

SUFFIX = ".parquet"
NUMBERED = re.compile(r"(?P<name>.+?)[-_.]?(?P<number>\d+)(-of-(?P<of>\d+))?(-[0-9a-f]{16})?")
"""Names of files among several, without suffix: train-00000-of-00294, train-00000-of-00001-0123456789abcdef, part_7."""


@dataclass(frozen=True)
class SplitFiles:
    """The files of one split, and what lies beside them."""

    files: list[tuple[str, int]]
    """(path relative to the folder, size in bytes), sorted."""
    left_out: Counter[tuple[str, str]]
    """(what, why) to number of files."""


def split_files(data: Parquet) -> SplitFiles:
    """The files that a study reads.

    Raises:
        UserError: the folder is missing, unreadable or holds no .parquet files, or several splits of which
            ``data.split`` names none, files of the split are missing, or ``data.hub`` was not fetched into it.
    """
    root = Path(data.path)
    if data.hub is None:
        sizes = dict(files_below(root))
        known, where = set(sizes), f"data.path: {root}"
    else:
        known, where = set(require_fetched(data.hub, root).files), f"data.path: what was fetched to {root}"
        sizes = dict(files_below(root))
    chosen = choose_split(known, data.split, where)
    left_out: Counter[tuple[str, str]] = Counter()
    for path in sorted(sizes.keys() - set(chosen)):
        if not path.endswith(SUFFIX):
            left_out[PurePosixPath(path).suffix.lower() or "without suffix", f"no {SUFFIX}"] += 1
        elif path in known:
            left_out[SUFFIX, f"of split {split_of(path)}"] += 1
        else:
            left_out[SUFFIX, f"not fetched from {data.hub}"] += 1
    return SplitFiles([(path, sizes[path]) for path in chosen], left_out)


def choose_split(paths: Iterable[str], wanted: str | None, where: str) -> list[str]:
    """Those of ``paths`` that are the Parquet files of one split, sorted.

    Args:
        paths: relative, with forward slashes.
        wanted: name of the split, with or without its folder; None where there is but one.
        where: begins each complaint.

    Raises:
        UserError: there are none, or several splits and none of them is meant, or some of its files are missing.
    """
    splits: dict[str, list[str]] = defaultdict(list)
    for path in sorted(paths):
        if path.endswith(SUFFIX):
            splits[split_of(path)].append(path)
    if not splits:
        raise UserError(f"{where} holds no {SUFFIX} files, also in no folder below.")
    listed = ", ".join(f"{name} ({len(files)} files)" for name, files in splits.items())
    meant = [name for name in splits if wanted in (None, name, PurePosixPath(name).name)]
    if not meant:
        raise UserError(f"{where} holds no split {wanted!r} (data.split), only {listed}.")
    if len(meant) > 1:
        raise UserError(
            f"{where} holds {len(meant)} splits: {listed}. One is read; name it in data.split, like split: {meant[0]}."
        )
    files = splits[meant[0]]
    _require_whole(files, where)
    return files


def split_of(path: str) -> str:
    """The split that a file belongs to, with its folder: data/train of data/train-00000-of-00294.parquet.

    Files that have numbers for names are of the split that their folder is called after.
    """
    stem = PurePosixPath(path).name.removesuffix(SUFFIX)
    folder = PurePosixPath(path).parent
    if stem.isdecimal():
        return folder.as_posix() if folder.name else "all"
    numbered = NUMBERED.fullmatch(stem)
    return (folder / (numbered["name"] if numbered else stem)).as_posix()


def _require_whole(files: list[str], where: str) -> None:
    """See that all files are there where their names say how many there are."""
    numbers = defaultdict(set)
    for path in files:
        match = NUMBERED.fullmatch(PurePosixPath(path).name.removesuffix(SUFFIX))
        if match and match["of"]:
            numbers[int(match["of"])].add(int(match["number"]))
    if len(numbers) > 1:
        told = " and ".join(f"{count} files" for count in sorted(numbers))
        raise UserError(f"{where} holds files such as {files[0]} whose names say that there are {told}. Keep one set.")
    for count, there in numbers.items():
        missing = sorted(set(range(count)) - there)
        if missing or len(files) != count:
            raise UserError(
                f"{where} holds {len(files)} files such as {files[0]}, whose names say that there are {count}"
                + (f"; number {missing[0]} is missing. " if missing else ". ")
                + "Fetch or copy what is missing, and take away what is twice."
            )
