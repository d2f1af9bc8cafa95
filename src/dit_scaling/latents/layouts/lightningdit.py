"""LightningDiT's safetensors.

As extract_features.py of github.com/hustvl/LightningDiT writes them (read in its fork thiagoambiel/LightningDiTLoRA):
latents_rank00_shard000.safetensors with `latents` and `latents_flip` (N, C, h, w) and `labels` (N,). Each rank holds
every W-th image of torchvision's ImageFolder, and the last ranks begin again where W does not divide the images. A
latent is one draw of the posterior, not scaled. Beside them lies latents_stats.pt, which is not read: it is a pickle,
and its statistics are taken of the latents themselves.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dit_scaling.common.errors import UserError
from dit_scaling.common.foreign import name_foreign_file
from dit_scaling.latents.layouts.foreign_latents import Foreign, ForeignSample, Layout, by_folder, whole_label

NAME = re.compile(r"latents_rank(\d+)_shard(\d+)\.safetensors")
CHUNK = 64
"""Rows of a file that are read at a time."""


def _found(root: Path) -> bool:
    return any(NAME.fullmatch(path.name) for path in root.glob("*.safetensors"))


def _open(root: Path) -> Foreign:
    ranks: dict[int, dict[int, Path]] = defaultdict(dict)
    for path in sorted(root.glob("*.safetensors")):
        if match := NAME.fullmatch(path.name):
            other = ranks[int(match[1])].setdefault(int(match[2]), path)
            if other is not path:
                raise UserError(
                    f"{root} holds {other.name} and {path.name}, two files of one rank and shard. Keep one."
                )
    for rank in range(max(ranks) + 1):
        for shard in range(max(ranks[rank], default=0) + 1):
            if shard not in ranks[rank]:
                name = f"latents_rank{rank:02d}_shard{shard:03d}.safetensors"
                raise UserError(f"{root / name} is missing. Get the folder again, whole.")
    files = [[ranks[rank][shard] for shard in sorted(ranks[rank])] for rank in sorted(ranks)]
    shapes = {path: _shape(path) for of_rank in files for path in of_rank}
    counts = [sum(shapes[path][0] for path in of_rank) for of_rank in files]
    mirrored = {with_mirrors for _, with_mirrors in shapes.values()}
    if len(mirrored) > 1:
        raise UserError(f"{root}: some of its files hold latents_flip, and some do not. Get the folder again.")
    if len(set(counts)) > 1:
        told = ", ".join(f"{count:,}" for count in counts)
        raise UserError(f"{root}: its ranks hold {told} latents, where all hold as many. Get the folder again, whole.")
    keys = ("latents", "latents_flip") if mirrored == {True} else ("latents",)
    return Foreign(
        count=sum(counts),
        samples=_interleaved([_rows(of_rank, keys) for of_rank in files]),
        each="one draw of the posterior of the image"
        + (", and one of its mirror's, " if len(keys) == 2 else ", ")
        + "made when it was extracted",
        holds="latent",
        multiplied_by=1.0,
        repeats=len(files) - 1,
    )


def _interleaved(ranks: list[Iterator[ForeignSample]]) -> Iterator[ForeignSample]:
    for row in zip(*ranks, strict=True):
        yield from row


def _rows(files: list[Path], keys: tuple[str, ...]) -> Iterator[ForeignSample]:
    for path in files:
        count, _ = _shape(path)
        for start in range(0, count, CHUNK):
            *views, labels = _read(path, (*keys, "labels"), slice(start, start + CHUNK))
            for offset, (label, *row) in enumerate(zip(labels, *views, strict=True)):
                where = f"{path.name} row {start + offset}"
                yield ForeignSample(where, np.stack(row), whole_label(label, where), where)


def _shape(path: Path) -> tuple[int, bool]:
    """Number of latents in a file, and whether their mirrors are there.

    Raises:
        UserError: it is truncated, or holds no latents with as many labels.
    """
    with _opened(path) as tensors:
        names = set(tensors.keys())
        if not {"latents", "labels"} <= names:
            raise UserError(f"{path} holds {', '.join(sorted(names)) or 'nothing'}, not latents and labels.")
        shapes = {name: tuple(tensors.get_slice(name).get_shape()) for name in names}
    latents, labels = shapes["latents"], shapes["labels"]
    if len(latents) != 4 or labels != latents[:1]:
        raise UserError(f"{path}: latents of shape {latents} do not go with labels of shape {labels}.")
    if shapes.get("latents_flip", latents) != latents:
        raise UserError(f"{path}: latents_flip has shape {shapes['latents_flip']}, latents {latents}.")
    return latents[0], "latents_flip" in names


def _read(path: Path, keys: tuple[str, ...], rows: slice) -> list[NDArray[Any]]:
    with _opened(path) as tensors:
        found = [tensors.get_slice(key)[rows] for key in keys]
    # numpy knows no bfloat16.
    return [(tensor.float() if tensor.is_floating_point() else tensor).numpy() for tensor in found]


def _opened(path: Path) -> Any:
    from safetensors import SafetensorError, safe_open  # With torch, which knows bfloat16: only where it is used.

    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        told = name_foreign_file(path) or f"no whole safetensors file ({error})"
        raise UserError(f"{path} is {told}. Get it again.") from None


LIGHTNINGDIT = Layout("lightningdit", "latents_rank00_shard000.safetensors", _found, _open, by_folder)
