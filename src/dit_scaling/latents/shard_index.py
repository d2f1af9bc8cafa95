"""Where each latent lies inside a shard: found once, checked, and kept beside the shard."""

import contextlib
import io
import json
import re
import tarfile
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import atomic_path, sha256_file
from dit_scaling.common.npy_header import read_npy_header

MEMBER = re.compile(r"([A-Za-z0-9_-]+)\.(json|latent\.npy)")
LATENT_DTYPE = np.dtype("<f2")


@dataclass(frozen=True)
class ShardIndex:
    """One row per image, in the shard's order."""

    offsets: NDArray[np.int64]
    """Byte of the tar at which the numbers of its latent begin; even."""
    labels: NDArray[np.int64]
    sources: NDArray[np.bytes_]
    """Name of the image in its source, as UTF-8."""


class ShardError(ValueError):
    """What is wrong with a shard, without its name."""


def open_index(
    path: Path, sha256: str, latent_shape: tuple[int, ...], *, verify: bool, again: str | None = None
) -> ShardIndex:
    """The index of a shard, from the file kept beside it where that still fits, else made and kept.

    A kept index fits while the shard has the size, the modification time and the sha256 it was made for; making
    one reads the whole shard and compares its sha256. A folder that cannot be written to is no error.

    Args:
        path: the shard.
        sha256: what the manifest says of it.
        latent_shape: what each latent must have.
        verify: compare the sha256 even if a kept index fits.
        again: what to do where the shard is missing or unusable, where that is not to run the job that makes it.

    Raises:
        UserError: the shard is missing, truncated, altered, or holds anything but latents of that shape.
    """
    try:
        status = path.stat()
        stamp = np.array([status.st_size, status.st_mtime_ns], dtype=np.int64)
        kept = None if verify else _read_kept(_kept_path(path), stamp, sha256)
        if kept is not None:
            return kept
        if sha256_file(path) != sha256:
            raise ShardError("its sha256 is not that of the manifest, so it was truncated or altered")
        index = scan_shard(path, latent_shape)
    except FileNotFoundError:
        raise UserError(f"{path} is missing. {again or f'Run: snakemake {path}'}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from None
    except ShardError as error:
        remedy = again or f"Delete it and run: snakemake {path}"
        raise UserError(f"{path} is no usable shard: {error}. {remedy}") from None
    with contextlib.suppress(OSError), atomic_path(_kept_path(path)) as temporary:
        np.savez(
            temporary,
            stamp=stamp,
            sha256=np.array(sha256),
            offsets=index.offsets,
            labels=index.labels,
            sources=index.sources,
        )
    return index


def scan_shard(path: Path, latent_shape: tuple[int, ...]) -> ShardIndex:
    """Read names and headers of a shard, not its latents. Nothing is ever unpickled or unpacked.

    Raises:
        ShardError: it is no tar, or members are missing, out of order, oddly named, or of another shape or type.
    """
    offsets, labels, sources = [], [], []
    try:
        with tarfile.open(path, "r:") as archive, path.open("rb") as stream:
            members = iter(archive)
            for first in members:
                second = next(members, None)
                key = _key(first, "json")
                if second is None or _key(second, "latent.npy") != key:
                    raise ShardError(f"{key}.json is not followed by {key}.latent.npy")
                label, source = _read_facts(stream, first)
                labels.append(label)
                sources.append(source.encode(errors="surrogateescape"))
                offsets.append(_latent_offset(stream, second, latent_shape))
    except tarfile.TarError as error:
        raise ShardError(f"not a complete tar file ({error})") from None
    return ShardIndex(np.array(offsets, dtype=np.int64), np.array(labels, dtype=np.int64), np.array(sources))


def _key(member: tarfile.TarInfo, kind: str) -> str:
    match = MEMBER.fullmatch(member.name)
    if not member.isreg() or match is None or match[2] != kind:
        raise ShardError(f"member {member.name!r} where a file KEY.{kind} should be")
    return match[1]


def _read_facts(stream: BinaryIO, member: tarfile.TarInfo) -> tuple[int, str]:
    stream.seek(member.offset_data)
    try:
        facts = json.loads(stream.read(member.size))
        label, source = facts["label"], facts["source"]
    except (ValueError, TypeError, KeyError):
        raise ShardError(f"member {member.name} holds no label and source") from None
    if not isinstance(label, int) or label < 0 or not isinstance(source, str):
        raise ShardError(f"member {member.name} holds an impossible label or source")
    return label, source


def _latent_offset(stream: BinaryIO, member: tarfile.TarInfo, latent_shape: tuple[int, ...]) -> int:
    """Byte of the tar at which the numbers of a .npy member begin."""
    stream.seek(member.offset_data)
    prefix = stream.read(10)
    header = prefix + stream.read(int.from_bytes(prefix[8:10], "little"))
    try:
        shape, fortran, dtype = _parse_npy_header(header)
    except ValueError as error:
        raise ShardError(f"member {member.name} is no npy file ({error})") from None
    size = len(header) + int(np.prod(shape)) * dtype.itemsize
    if (shape, fortran, dtype) != (latent_shape, False, LATENT_DTYPE) or size != member.size:
        raise ShardError(f"member {member.name} is {dtype} {shape}, not {LATENT_DTYPE} {latent_shape}")
    offset = member.offset_data + len(header)
    if offset % LATENT_DTYPE.itemsize:
        raise ShardError(f"the numbers of member {member.name} begin at an odd byte")
    return offset


@lru_cache(maxsize=8)
def _parse_npy_header(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    return read_npy_header(io.BytesIO(header))


def _kept_path(path: Path) -> Path:
    return path.with_name(path.name + ".idx.npz")


def _read_kept(path: Path, stamp: NDArray[np.int64], sha256: str) -> ShardIndex | None:
    """A kept index, None where there is none or it does not fit."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if not np.array_equal(arrays["stamp"], stamp) or str(arrays["sha256"]) != sha256:
                return None
            return ShardIndex(arrays["offsets"], arrays["labels"], arrays["sources"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
