"""Webdataset tars as a source: found by their headers alone, each image then read from its own bytes.

A sample is consecutive members KEY.SUFFIX: one image, and the number of its class. KEY.cls holds it as text; where
there is none, KEY.cls.txt, KEY.txt or one of `JSON_KEYS` in KEY.json may, as long as they agree. Members that belong
to neither an image nor a label are counted and left out; images without bytes of their own, or whose names hold a
further dot, are refused. Nothing is unpacked and nothing unpickled.
"""

import contextlib
import json
import os
import tarfile
import zipfile
from collections import Counter
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import atomic_path, digest, parse_json_once
from dit_scaling.data.listing import IMAGE_SUFFIXES, tar_files

INDEX_FILE = ".dit-scaling-index.npz"
INDEXED = 2
"""Counts the rules by which members become samples: an index that was made by others is made anew."""
LABEL_BYTES = 20
JSON_BYTES = 1 << 20
JSON_KEYS = ("label", "cls", "class", "class_id")
WANTED = f"one image each (.png, .jpg, ...) and its class as a number in .cls, .cls.txt, .txt or .json ({JSON_KEYS[0]})"
LABEL_DIGITS = 9
BLOCK = 512


@dataclass(frozen=True)
class TarIndex:
    """Where each image lies, in the order of tars and members."""

    tars: list[str]
    tar: NDArray[np.int64]
    """Which of ``tars``, (N,)."""
    offset: NDArray[np.int64]
    """First byte of the image in its tar, (N,)."""
    size: NDArray[np.int64]
    """Bytes, (N,)."""
    label: NDArray[np.int64]
    keys: list[str]
    """TAR/KEY."""
    left_out: Counter[str]
    """Suffix to number of members that belong to no image."""


@dataclass
class _Rows:
    tar: list[int] = field(default_factory=list)
    offset: list[int] = field(default_factory=list)
    size: list[int] = field(default_factory=list)
    label: list[int] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


class TarError(ValueError):
    """What is wrong with a tar, without its name."""


def open_tars(root: Path) -> TarIndex:
    """The index of a folder of tars, from the file kept in it while no tar changes, else made and kept.

    Making it reads headers and labels, no image. A folder that cannot be written to is no error: then every job
    makes its own.

    Raises:
        UserError: the folder holds no tars, or one of them is unreadable, cut short, names members outside of it, or
            holds a sample without exactly one image and one class.
    """
    tars = tar_files(root)
    names = [name for name, _ in tars]
    stamp = digest([INDEXED, *((name, size, (root / name).stat().st_mtime_ns) for name, size in tars)])
    kept = _read_kept(root / INDEX_FILE, stamp, names)
    if kept is not None:
        return kept
    rows = _Rows()
    for number, name in enumerate(names):
        try:
            _scan(root / name, number, rows)
        except OSError as error:
            raise UserError(f"{root / name} cannot be read: {error.strerror or error}.") from None
        except (tarfile.TarError, TarError, ValueError, OverflowError) as error:  # tarfile lets some PAX headers pass.
            raise UserError(
                f"{root / name} is no usable webdataset tar: {error}. Repair it, or pack it again."
            ) from None
    columns = np.array([rows.tar, rows.offset, rows.size, rows.label], dtype=np.int64)
    tar, offset, size, label = columns
    if not rows.keys:
        found = ", ".join(f"{count} .{suffix}" for suffix, count in rows.left_out.most_common()) or "no files"
        raise UserError(f"data.path: the tars of {root} hold no samples: {found}. Wanted is {WANTED}.")
    index = TarIndex(names, tar, offset, size, label, rows.keys, rows.left_out)
    with contextlib.suppress(OSError), atomic_path(root / INDEX_FILE) as temporary:
        np.savez(
            temporary,
            stamp=np.array(stamp),
            columns=columns,
            keys=np.array([os.fsencode(key) for key in rows.keys], dtype=np.bytes_),
            left_out=np.array(json.dumps(rows.left_out)),
        )
    return index


def _scan(path: Path, number: int, rows: _Rows) -> None:
    """Add the samples of one tar to ``rows``."""
    seen, length = set(), path.stat().st_size
    with tarfile.open(path, "r:") as archive, path.open("rb") as stream:
        for key, members in groupby(tar_members(archive, IMAGE_SUFFIXES), key=lambda member: member[0]):
            if key in seen:
                raise TarError(f"the members of {key} do not follow each other")
            seen.add(key)
            parts: dict[str, tarfile.TarInfo] = {}
            for _, suffix, member in members:
                if suffix in parts:
                    raise TarError(f"member {member.name} is there twice")
                parts[suffix] = member
            require_plain_names(parts, IMAGE_SUFFIXES)
            images = [member for suffix, member in parts.items() if f".{suffix}" in IMAGE_SUFFIXES]
            label = stated_class(stream, parts, key) if images or _has_label(parts) else None
            if label is None and not images:
                rows.left_out.update(list(parts))
                continue
            if label is None or len(images) != 1:
                held = ", ".join(f".{suffix}" for suffix in parts)
                count = f"{len(images)} images" if len(images) != 1 else "no number of a class"
                raise TarError(f"sample {key} ({held}) has {count}; wanted is {WANTED}")
            rows.tar.append(number)
            if images[0].offset_data + images[0].size > length:
                raise TarError(f"member {images[0].name!r} is longer than the tar")
            rows.offset.append(images[0].offset_data)
            rows.size.append(images[0].size)
            rows.label.append(label)
            rows.keys.append(f"{path.name}/{key}")
        require_end(archive, stream)


def require_end(archive: tarfile.TarFile, stream: BinaryIO) -> None:
    """See that an archive whose members were all seen ends there.

    A damaged header in the middle looks like the end to tarfile; the true end is zeros, or the file's.

    Raises:
        TarError: it does not.
    """
    stream.seek(archive.offset)
    if any(stream.read(BLOCK)):
        raise TarError(f"no header at byte {archive.offset}")


def tar_members(archive: tarfile.TarFile, wanted: Container[str]) -> Iterator[tuple[str, str, tarfile.TarInfo]]:
    """(key, suffix, member) of each file, named as webdataset names them: the suffix begins at the first dot.

    Raises:
        TarError: a member leads out of the tar, is sparse, or is a link whose name ends like those of ``wanted``.
    """
    for member in archive:
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or "\\" in member.name:
            raise TarError(f"member {member.name!r} leads out of the tar")
        if member.issparse():
            raise TarError(f"member {member.name!r} is sparse")
        if (member.islnk() or member.issym()) and path.suffix.lower() in wanted:
            raise TarError(
                f"member {member.name!r} is a link to {member.linkname!r} and has no bytes of its own (tar writes them "
                "with --dereference --hard-dereference)"
            )
        stem, dot, suffix = path.name.partition(".")
        if member.isreg() and stem and dot and not member.name.startswith("__"):
            yield str(path.with_name(stem)), suffix.lower(), member


def require_plain_names(parts: Mapping[str, tarfile.TarInfo], wanted: Container[str]) -> None:
    """See that a sample has a member whose whole suffix is ``wanted``, or none that only ends like one.

    Raises:
        TarError: its key was cut at a dot that belongs to the name.
    """
    if any(f".{suffix}" in wanted for suffix in parts):
        return
    for suffix, member in parts.items():
        if PurePosixPath(f"x.{suffix}").suffix in wanted:
            raise TarError(
                f"member {member.name!r} is left over: a key ends at the first dot, which makes .{suffix} its suffix "
                "and that of no sample. Leave dots out of the names before the suffix"
            )


def _has_label(parts: Mapping[str, tarfile.TarInfo]) -> bool:
    """Whether a sample without an image has a member that can be nothing but its label."""
    return "cls" in parts or "cls.txt" in parts


def stated_class(stream: BinaryIO, parts: Mapping[str, tarfile.TarInfo], key: str) -> int | None:
    """The class of one sample; None where no member tells it.

    Raises:
        TarError: .cls or .cls.txt is no number, or two members tell different ones.
    """
    if "cls" in parts:
        return _stated(stream, parts["cls"])
    found = {}
    if "cls.txt" in parts:
        found["cls.txt"] = _stated(stream, parts["cls.txt"])
    if "txt" in parts and (number := _number(stream, parts["txt"])) is not None:
        found["txt"] = number
    if "json" in parts and (number := _json_number(stream, parts["json"])) is not None:
        found["json"] = number
    if len(set(found.values())) > 1:
        told = ", ".join(f".{suffix} {number}" for suffix, number in found.items())
        raise TarError(f"sample {key} has more than one class: {told}")
    return next(iter(found.values()), None)


def _stated(stream: BinaryIO, member: tarfile.TarInfo) -> int:
    number = _number(stream, member)
    if number is None:
        raise TarError(f"member {member.name} is no number of a class")
    return number


def _number(stream: BinaryIO, member: tarfile.TarInfo) -> int | None:
    stream.seek(member.offset_data)
    text = stream.read(min(member.size, LABEL_BYTES)).strip()
    known = member.size <= LABEL_BYTES and text.isdigit() and len(text) <= LABEL_DIGITS
    return int(text) if known else None


def _json_number(stream: BinaryIO, member: tarfile.TarInfo) -> int | None:
    """The one whole number under any of `JSON_KEYS`; None where there is none.

    Raises:
        TarError: two of the keys hold different numbers, or a key stands there twice.
    """

    if member.size > JSON_BYTES:
        return None
    stream.seek(member.offset_data)
    try:
        content = parse_json_once(stream.read(member.size))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        return None
    except ValueError as error:
        raise TarError(f"member {member.name}: {error}") from None
    values = [content[key] for key in JSON_KEYS if key in content] if isinstance(content, dict) else []
    numbers = {value for value in values if type(value) is int and 0 <= value < 10**LABEL_DIGITS}
    if len(numbers) > 1:
        raise TarError(f"member {member.name} tells more than one class: {sorted(numbers)}")
    return next(iter(numbers), None)


def _read_kept(path: Path, stamp: str, names: list[str]) -> TarIndex | None:
    """A kept index, None where there is none or it does not fit."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if str(arrays["stamp"]) != stamp:
                return None
            tar, offset, size, label = arrays["columns"]
            keys = [os.fsdecode(key) for key in arrays["keys"].tolist()]
            left_out = Counter(json.loads(str(arrays["left_out"])))
            return TarIndex(names, tar, offset, size, label, keys, left_out)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None
