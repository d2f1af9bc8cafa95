"""A look at encoded images before they are read: what a reader will do with them, and what to doubt about them."""

import hashlib
import io
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dit_scaling.common.errors import UserError
from dit_scaling.common.words import count
from dit_scaling.config.image_settings import ImageFiles, ImageFolder, Parquet
from dit_scaling.data.class_order import describe_names, describe_order
from dit_scaling.data.listing import take_inventory
from dit_scaling.data.parquet_split import split_files
from dit_scaling.data.pixels import describe_fault, require_usable, require_whole, traits
from dit_scaling.data.reading_order import sample_evenly, spread_evenly
from dit_scaling.data.row_groups import KEPT_BYTES, open_parquet
from dit_scaling.data.sources import FileSource, ImageSource
from dit_scaling.data.tars import open_tars

LOOKED_AT = 2_000
"""Images opened for a quick look; all of them where there are fewer."""
DECODED = 4
"""One in so many of those that may be opened is decoded whole: 500 of a quick look, which takes a second for photos as
ImageNet's and 20 for those of 12 megapixels."""
HASHED = 500
"""Images compared by content, at most."""
UNREADABLE = "unreadable"
TRAITS = {
    "transparent": "have transparent pixels",
    "turned": "are not stored upright (EXIF)",
    "animated": "have several frames, of which the first is read",
    "deep": "have more than 8 bits per channel, which are rounded to 8",
}


@dataclass(frozen=True)
class Trait:
    """How many of the images looked at have something in common, and the first of them."""

    count: int
    first: str
    fault: str = ""
    """Of images that cannot be read: why the first of them cannot."""


@dataclass(frozen=True)
class Survey:
    """What a sample of the images has that a reader acts on; ``sentences`` say it to people."""

    looked_at: int
    images: int
    traits: dict[str, Trait]
    """Name of a trait in `Traits`, or `UNREADABLE`, to what has it; those that none has are left out."""
    doubts: tuple[str, ...]
    """Sentences on classes that may not be classes."""
    sentences: tuple[str, ...]


def survey(source: ImageSource, data: ImageFiles, limit: int = LOOKED_AT) -> Survey:
    """Open a sample of encoded images, spread evenly over the source, and decode some of it, as evenly spread.

    A header tells nearly everything; only decoding tells that an image was cut short.

    Args:
        source: the images of ``data``.
        data: its settings.
        limit: so many are opened at most, and one in `DECODED` of so many decoded.
    """
    assert isinstance(source, FileSource)
    chosen = sample_evenly(source, limit)
    decoded = set(chosen[spread_evenly(len(chosen), max(1, limit // DECODED))].tolist())
    found: dict[str, list[str]] = defaultdict(list)
    faults = []
    for index in chosen.tolist():
        names, fault = _look_at(source, index, whole=index in decoded)
        faults += [fault] if fault else []
        for name in names:
            found[name].append(source.keys[index])
    counted = {
        name: Trait(len(keys), keys[0], *faults[:1] if name == UNREADABLE else ()) for name, keys in found.items()
    }
    doubts = [_describe_twins(source, chosen)]
    if isinstance(data, ImageFolder):
        doubts.append(describe_names(source.class_names))
        doubts.append(describe_order(source.class_names) if data.class_names is None else None)
    told = tuple(doubt for doubt in doubts if doubt)
    sample = f"of {len(chosen):,} images" + ("" if len(chosen) == len(source) else " looked at")
    sentences = tuple(_describe(trait, fact, sample, data) for trait, fact in counted.items())
    return Survey(len(chosen), len(source), counted, told, (*sentences, *told))


def describe_inventory(data: ImageFiles) -> list[str]:
    """What the folder of a source holds, by suffix: one sentence on what is used, one on what is left out and why.

    Raises:
        UserError: the folder cannot be listed.
    """
    root = Path(data.path)
    if isinstance(data, Parquet):
        return _describe_parquet(data)
    if not isinstance(data, ImageFolder):
        left_out = open_tars(root).left_out
        parts = [f"{count:,} .{suffix}" for suffix, count in left_out.most_common()]
        return [f"left out of the tars: {', '.join(parts)} (they belong to no image)"] if parts else []
    found = take_inventory(root)
    used = ", ".join(f"{count:,} {suffix}" for suffix, count in found.used.most_common())
    links = f"; links, or behind them: {found.links:,} ({found.first_link})" if found.links else ""
    return [f"{used} used{links}", *_describe_left_out(found.left_out)]


def _describe_parquet(data: Parquet) -> list[str]:
    split = split_files(data)
    index = open_parquet(data, split)
    files = count(len(index.files), ".parquet file")
    used = f"{count(len(index.label), 'row')} of {files} used, the first {index.files[0]}"
    if index.largest > KEPT_BYTES:
        used += (
            f"; their row groups hold up to {index.largest / 1e6:,.0f} MB, all of which is read for each image that is "
            "read at random: write the files anew with row groups of 100 images"
        )
    return [used, *_describe_left_out(split.left_out)]


def _describe_left_out(left_out: Counter[tuple[str, str]]) -> list[str]:
    parts = [f"{count:,} {what} ({why})" for (what, why), count in left_out.most_common()]
    return [f"left out: {', '.join(parts)}"] if parts else []


def require_readable(seen: Survey) -> None:
    """See that a study would not stop at an image that was looked at.

    Raises:
        UserError: one of them cannot be read; says how many, the first, and why.
    """
    if UNREADABLE in seen.traits:
        found = seen.traits[UNREADABLE]
        raise UserError(
            f"data.path: {found.count:,} of {seen.looked_at:,} images looked at cannot be read: {found.first} "
            f"({found.fault}){' first' if found.count > 1 else ''}. Repair what is broken, or take it out of the set."
        )


def _look_at(source: FileSource, index: int, whole: bool) -> tuple[list[str], str]:
    """Names of the traits that an image has, and why it cannot be read, "" where it can, as far as one looks."""
    content = source.encoded(index)
    try:
        with Image.open(io.BytesIO(content)) as image:
            require_usable(image)
            found = traits(image)
            if whole:
                require_whole(image)
    except Exception as error:  # broken bytes make Pillow's decoders raise nearly anything
        return [UNREADABLE], describe_fault(content, error)
    return [name for name in TRAITS if getattr(found, name)], ""


def _describe(trait: str, fact: Trait, sample: str, data: ImageFiles) -> str:
    effect = {
        "transparent": f"; they are laid over {data.background} (data.background)"
        if data.background
        else "; the colours that these hide are trained on (data.background: null)",
        "turned": "; they are turned upright (data.exif_transpose)"
        if data.exif_transpose
        else "; they are read as they are stored (data.exif_transpose: false)",
        UNREADABLE: "cannot be read, and will stop the study",
    }
    said = TRAITS.get(trait, "") + effect.get(trait, "")
    first = f"{fact.first} ({fact.fault})" if fact.fault else fact.first
    return f"{fact.count:,} {sample} {said}: {first}{' first' if fact.count > 1 else ''}"


def _describe_twins(source: FileSource, looked_into: NDArray[np.int64]) -> str | None:
    """Says how many images lie in two classes, from the contents of a sample; None where there are none.

    Equal files have equal sizes, so the sample is drawn by size: then both of a pair are in it or neither is. Where
    sizes are not known, it is the images that are ``looked_into`` anyway.
    """
    hashed: dict[bytes, list[int]] = defaultdict(list)
    looked_at = 0
    for group in [looked_into] if source.sizes is None else _groups_of_size(source.sizes, source.labels):
        if len(set(source.labels[group].tolist())) > 1:  # others have no twin in another class
            some = _first_of_each_class(source, group, HASHED)
            if hashed and looked_at + len(some) > HASHED:
                break
            for index in some:
                hashed[hashlib.sha256(source.encoded(index)).digest()].append(index)
            looked_at += len(some)
    twins = [group for group in hashed.values() if len({int(source.labels[index]) for index in group}) > 1]
    if not twins:
        return None
    alike = "" if source.sizes is None else " of equal size in bytes"
    first = twins[0][0]
    second = next(index for index in twins[0] if source.labels[index] != source.labels[first])
    return (
        f"{sum(map(len, twins)):,} of {looked_at:,} images{alike} lie in more than one class, as "
        f"{source.keys[first]} and {source.keys[second]} do: no network can tell such classes apart"
    )


def _groups_of_size(sizes: NDArray[np.int64], labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Indices of images of equal size in bytes: first those of classes as large as another, then in a fixed order."""
    order = np.argsort(sizes, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(sizes[order])) + 1)
    shuffled = [groups[index] for index in np.random.default_rng(0).permutation(len(groups))]
    totals = np.bincount(labels, weights=sizes)
    alike = np.isin(totals, [total for total in totals if (totals == total).sum() > 1])
    return sorted(shuffled, key=lambda group: not alike[labels[group]].any())


def _first_of_each_class(source: FileSource, group: NDArray[np.int64], limit: int) -> list[int]:
    """Of many images of one size, as those of a format without compression, the first of each class."""
    if len(group) <= limit:
        return [int(index) for index in group]
    labels = source.labels[group]
    share = max(1, limit // len(np.unique(labels)))
    chosen = [group[labels == label][:share] for label in np.unique(labels)]
    return [int(index) for index in np.concatenate(chosen)[:limit]]
