"""Webdataset tars of latents.

A sample is KEY.npy, one latent of shape (C, h, w), and its class in KEY.cls, KEY.cls.txt, KEY.txt or KEY.json, as in
tars of images. KEY.latent.npy is the member of this package's own shards: (2, 2C, h, w), image and mirror; mean, then
log-variance; with the image's name in KEY.json. Shards of imported latents may lack the mirror or the log-variance,
which `import_latents` learns from the record beside them.
"""

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

from dit_scaling.common.errors import UserError
from dit_scaling.data.tars import TarError, require_end, require_plain_names, stated_class, tar_members
from dit_scaling.latents.layouts.foreign_latents import (
    MOST_BYTES,
    Foreign,
    ForeignSample,
    Layout,
    by_folder,
    one_view,
    parse_npy,
    read_in_order,
    whole_label,
)

OURS, OTHERS = "latent.npy", "npy"
SUFFIXES = (f".{OURS}", f".{OTHERS}")


@dataclass(frozen=True)
class _Member:
    """Where the latent of a sample lies."""

    tar: Path
    name: str
    suffix: str
    offset: int
    size: int
    label: int
    image: str


def _found(root: Path) -> bool:
    return any(root.glob("*.tar"))


def _open(root: Path) -> Foreign:
    members: list[_Member] = []
    for path in sorted(root.glob("*.tar")):
        try:
            members.extend(_scan(path))
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror or error}.") from None
        except (tarfile.TarError, TarError, ValueError, OverflowError) as error:  # tarfile lets some headers pass.
            raise UserError(f"{path} is no usable tar of latents: {error}. Get it again.") from None
    suffixes = sorted({member.suffix for member in members})
    if len(suffixes) != 1:
        raise UserError(f"{root}: its tars hold {' and '.join(suffixes) or 'no'} latents; wanted is KEY.npy of each.")
    places: dict[str, _Member] = {}
    for member in members:
        other = places.setdefault(member.image, member)
        if other is not member:
            raise UserError(
                f"{member.image} is there twice, in {other.tar.name} and {member.tar.name}. Each image has one latent: "
                "take one of them out."
            )
    ours = suffixes == [OURS]
    return Foreign(
        count=len(members),
        samples=read_in_order(partial(_sample), members),
        each="mean and log-variance of the posterior" if ours else "what the tars hold",
        holds="mean-logvar" if ours else None,
        multiplied_by=1.0 if ours else None,
        named=True,
        ours=ours,
    )


def _scan(path: Path) -> Iterator[_Member]:
    with tarfile.open(path, "r:") as archive, path.open("rb") as stream:
        for key, found in groupby(tar_members(archive, SUFFIXES), key=lambda member: member[0]):
            parts: dict[str, tarfile.TarInfo] = {}
            for _, suffix, member in found:
                if suffix in parts:
                    raise TarError(f"member {member.name} is there twice")
                parts[suffix] = member
            require_plain_names(parts, SUFFIXES)
            latents = [suffix for suffix in (OURS, OTHERS) if suffix in parts]
            if not latents:
                continue
            latent, label = parts[latents[0]], stated_class(stream, parts, key)
            if label is None or len(latents) > 1:
                raise TarError(f"sample {key} has {'two latents' if len(latents) > 1 else 'no number of a class'}")
            image = _source(stream, parts, key) if latents[0] == OURS else key
            yield _Member(path, latent.name, latents[0], latent.offset_data, latent.size, label, image)
        require_end(archive, stream)


def _source(stream: BinaryIO, parts: dict[str, tarfile.TarInfo], key: str) -> str:
    """Name of the image in KEY.json of our shards; the key where there is none."""
    if "json" not in parts:
        return key
    stream.seek(parts["json"].offset_data)
    content = json.loads(stream.read(min(parts["json"].size, MOST_BYTES)))
    source = content.get("source") if isinstance(content, dict) else None
    return source if isinstance(source, str) else key


def _sample(member: _Member) -> ForeignSample:
    where = f"{member.tar.name}/{member.name}"
    with member.tar.open("rb") as stream:
        stream.seek(member.offset)
        content = stream.read(min(member.size, MOST_BYTES))
    array = parse_npy(content, where)
    views = array if member.suffix == OURS and array.ndim == 4 else one_view(array, where)
    return ForeignSample(where, views, whole_label(member.label, where), member.image)


WEBDATASET = Layout("webdataset", "*.tar with KEY.npy and KEY.cls", _found, _open, by_folder)
