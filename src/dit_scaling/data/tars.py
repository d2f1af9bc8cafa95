"""Webdataset tars as a source: found by their headers alone, each image then read from its own bytes.

A sample is consecutive members KEY.SUFFIX: one image, and KEY.cls with the number of its class as text; others are
ignored. Nothing is unpacked and nothing unpickled.
"""

import contextlib
import os
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import atomic_path, digest
from dit_scaling.data.listing import IMAGE_SUFFIXES, tar_files

INDEX_FILE = ".dit-scaling-index.npz"
LABEL_BYTES = 20
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


@dataclass
class _Rows:
    tar: list[int] = field(default_factory=list)
    offset: list[int] = field(default_factory=list)
    size: list[int] = field(default_factory=list)
    label: list[int] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)


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
    stamp = digest([(name, size, (root / name).stat().st_mtime_ns) for name, size in tars])
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
            raise UserError(f"{root / name} is no usable webdataset tar: {error}. Repair or remove it.") from None
    columns = np.array([rows.tar, rows.offset, rows.size, rows.label], dtype=np.int64)
    tar, offset, size, label = columns
    index = TarIndex(names, tar, offset, size, label, rows.keys)
    with contextlib.suppress(OSError), atomic_path(root / INDEX_FILE) as temporary:
        np.savez(
            temporary,
            stamp=np.array(stamp),
            columns=columns,
            keys=np.array([os.fsencode(key) for key in rows.keys], dtype=np.bytes_),
        )
    return index


def _scan(path: Path, number: int, rows: _Rows) -> None:
    """Add the samples of one tar to ``rows``."""
    seen, length = set(), path.stat().st_size
    with tarfile.open(path, "r:") as archive, path.open("rb") as stream:
        for key, members in groupby(_members(archive), key=lambda member: member[0]):
            if key in seen:
                raise TarError(f"the members of {key} do not follow each other")
            seen.add(key)
            parts = {suffix: member for _, suffix, member in members}
            images = [member for suffix, member in parts.items() if f".{suffix}" in IMAGE_SUFFIXES]
            if len(images) != 1 or "cls" not in parts:
                raise TarError(f"sample {key} has {len(images)} images and {'a' if 'cls' in parts else 'no'} .cls")
            rows.tar.append(number)
            if images[0].offset_data + images[0].size > length:
                raise TarError(f"member {images[0].name!r} is longer than the tar")
            rows.offset.append(images[0].offset_data)
            rows.size.append(images[0].size)
            rows.label.append(_label(stream, parts["cls"]))
            rows.keys.append(f"{path.name}/{key}")
        # A damaged header in the middle looks like the end to tarfile; the true end is zeros, or the file's.
        stream.seek(archive.offset)
        if any(stream.read(BLOCK)):
            raise TarError(f"no header at byte {archive.offset}")


def _members(archive: tarfile.TarFile) -> Iterator[tuple[str, str, tarfile.TarInfo]]:
    """(key, suffix, member) of each file, named as webdataset names them: the suffix begins at the first dot."""
    for member in archive:
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or "\\" in member.name:
            raise TarError(f"member {member.name!r} leads out of the tar")
        if member.issparse():
            raise TarError(f"member {member.name!r} is sparse")
        stem, dot, suffix = path.name.partition(".")
        if member.isreg() and stem and dot and not member.name.startswith("__"):
            yield str(path.with_name(stem)), suffix.lower(), member


def _label(stream: BinaryIO, member: tarfile.TarInfo) -> int:
    stream.seek(member.offset_data)
    text = stream.read(min(member.size, LABEL_BYTES)).strip()
    if member.size > LABEL_BYTES or not text.isdigit() or len(text) > LABEL_DIGITS:
        raise TarError(f"member {member.name} is no number of a class")
    return int(text)


def _read_kept(path: Path, stamp: str, names: list[str]) -> TarIndex | None:
    """A kept index, None where there is none or it does not fit."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if str(arrays["stamp"]) != stamp:
                return None
            tar, offset, size, label = arrays["columns"]
            return TarIndex(names, tar, offset, size, label, [os.fsdecode(key) for key in arrays["keys"].tolist()])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
