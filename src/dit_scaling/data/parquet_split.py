"""Which Parquet files of a folder a study reads: one split of a data set, whole. Opens none of them."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath

from dit_scaling.common.errors import UserError
from dit_scaling.common.words import count
from dit_scaling.config.image_settings import Parquet
from dit_scaling.data.hub_record import require_fetched, require_whole_files
from dit_scaling.data.listing import files_below

SUFFIX = ".parquet"
NUMBERED = re.compile(
    r"(?P<name>.*?)[-_.]?(?P<number>\d+)"
    r"((-of-(?P<of>\d+))?(-[0-9a-f]{16})?|(-tid-\d+)?-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(-\d+){0,2}[-.]c\d+)"
    r"(\.(snappy|gz|gzip|zstd|lz4|brotli))?"
)
"""Names of files among several, without suffix: train-00000-of-00294, train-00000-of-00001-0123456789abcdef, part_7,
and as Spark has it, part-00000-01234567-89ab-cdef-0123-456789abcdef-c000.snappy."""


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
        known = dict(files_below(root))
        chosen = choose_split(known, data.split, f"data.path: {root}")
    else:
        record = require_fetched(data.hub, root)
        known = dict(record.files)
        chosen = choose_split(known, data.split, f"data.path: what was fetched to {root}")
        require_whole_files(record, chosen, data.hub, root)
    sizes = known if data.hub is None else dict(files_below(root))
    split_names = {path: name for name, files in _splits(known).items() for path in files}
    left_out: Counter[tuple[str, str]] = Counter()
    for path in sorted(sizes.keys() - set(chosen)):
        if not path.endswith(SUFFIX):
            left_out[PurePosixPath(path).suffix.lower() or "without suffix", f"no {SUFFIX}"] += 1
        elif path in known:
            left_out[SUFFIX, f"of split {split_names[path]}"] += 1
        else:
            left_out[SUFFIX, f"not fetched from {data.hub}"] += 1
    return SplitFiles([(path, sizes[path]) for path in chosen], left_out)


def choose_split(paths: Iterable[str], wanted: str | None, where: str) -> list[str]:
    """Those of ``paths`` that are the Parquet files of one split, sorted.

    Args:
        paths: relative, with forward slashes.
        wanted: name of the split, or of a file of its own without suffix, with or without folder; None where there
            is but one split.
        where: begins each complaint.

    Raises:
        UserError: there are none, or several splits and none of them is meant, or some of its files are missing or
            their numbers have gaps.
    """
    splits = _splits(paths)
    if not splits:
        raise UserError(f"{where} holds no {SUFFIX} files, also in no folder below.")
    meant = [name for name in splits if wanted in (None, name, PurePosixPath(name).name)]
    meant = meant or [path for path in chain(*splits.values()) if wanted in (_stem(path), _name(path))]
    if len(meant) == 1:
        files = splits.get(meant[0], meant)
        _require_whole(files, where)
        return files
    listed = ", ".join(f"{name} ({count(len(files), 'file')})" for name, files in splits.items())
    apart = [path for name, files in splits.items() if name != split_of(files[0]) for path in files]
    hint = (
        f" To be read together, files such as {apart[0]} need the numbers 0, 1, 2, ... without a gap." if apart else ""
    )
    if not meant:
        raise UserError(f"{where} holds no split {wanted!r} (data.split), only {listed}.{hint}")
    raise UserError(
        f"{where} holds {len(meant)} splits: {listed}. One is read; name it in data.split, like split: {meant[0]}."
        f"{hint}"
    )


def _splits(paths: Iterable[str]) -> dict[str, list[str]]:
    """The splits that the Parquet files among ``paths`` are of, each with its files, sorted.

    Files whose names say how many there are belong together, and numbered ones without a gap; others are by themselves,
    as cifar10 and cifar100 are.
    """
    together: dict[str, list[str]] = defaultdict(list)
    for path in sorted(paths):
        if path.endswith(SUFFIX):
            together[split_of(path)].append(path)
    splits: dict[str, list[str]] = {}
    for name, files in together.items():
        if len(files) == 1 or _are_counted(files):
            splits[name] = files
        else:
            others = together.keys() - {name}
            splits.update({path if _stem(path) in others else _stem(path): [path] for path in files})
    return splits


def _are_counted(files: Sequence[str]) -> bool:
    """Whether the names say how many files there are, or number them from 0 or 1 on."""
    matches = [NUMBERED.fullmatch(_name(path)) for path in files]
    if any(match and match["of"] for match in matches):
        return True
    numbers = sorted(int(match["number"]) if match else -1 for match in matches)
    return numbers[0] in (0, 1) and numbers == list(range(numbers[0], numbers[0] + len(files)))


def _stem(path: str) -> str:
    """The file without its suffix, with its folder."""
    return path.removesuffix(SUFFIX)


def _name(path: str) -> str:
    """The file without its suffix and folder."""
    return PurePosixPath(_stem(path)).name


def split_of(path: str) -> str:
    """The split that a file belongs to, with its folder: data/train of data/train-00000-of-00294.parquet.

    Files that have numbers for names are of the split that their folder is called after.
    """
    folder, numbered = PurePosixPath(path).parent, NUMBERED.fullmatch(_name(path))
    if numbered and not numbered["name"]:
        return folder.as_posix() if folder.name else "all"
    return (folder / (numbered["name"] if numbered else _name(path))).as_posix()


def _require_whole(files: list[str], where: str) -> None:
    """See that all files are there where their names say how many there are."""
    numbers = defaultdict(set)
    for path in files:
        match = NUMBERED.fullmatch(_name(path))
        if match and match["of"]:
            numbers[int(match["of"])].add(int(match["number"]))
    if len(numbers) > 1:
        told = " and ".join(count(number, "file") for number in sorted(numbers))
        raise UserError(f"{where} holds files such as {files[0]} whose names say that there are {told}. Keep one set.")
    for number, there in numbers.items():
        missing = sorted(set(range(number)) - there)
        if missing or len(files) != number:
            raise UserError(
                f"{where} holds {count(len(files), 'file')} such as {files[0]}, whose names say that there are {number}"
                + (f"; number {missing[0]} is missing. " if missing else ". ")
                + "Fetch or copy what is missing, and take away what is twice."
            )
