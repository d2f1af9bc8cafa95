"""A folder of imported latents: its record, its reader, and whether a study can use it."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt, ValidationError

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import read_json
from dit_scaling.common.section import PositiveFloat, Section
from dit_scaling.common.spelling import same_letters
from dit_scaling.common.words import count
from dit_scaling.config.study import Study
from dit_scaling.data.assets import IMPORTED, imported_record
from dit_scaling.data.sources import FolderSource, ImageSource, check_source
from dit_scaling.latents.layouts.layout_table import LAYOUTS
from dit_scaling.latents.manifest import Finite, NonNegative, Origin, Shard
from dit_scaling.latents.reader import ShardRows

NO_SPREAD = -1000.0
"""Log-variance where none is known: exact in float16, and exp(-500) is 0 in float32, so that the draw is the mean."""
COMMAND = "dit-scaling import-latents"


class Imported(Section):
    """What was imported."""

    origin: Origin
    latent_shape: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]
    """(V, C or 2C, h, w): the image, and its mirror if it is there; the mean, and the log-variance if it is there."""
    channels: PositiveInt
    """C."""
    multiplied_by: PositiveFloat
    """What the latents were multiplied by where they came from; it is divided out."""
    named: bool
    """Whether latents bear names that may be those of images."""
    repeats: Annotated[int, Field(ge=0)]
    """So many of the last may be the first once more."""
    count: PositiveInt
    label_histogram: tuple[int, ...]
    channel_mean: tuple[Finite, ...]
    """Mean of draws, per channel, not scaled."""
    channel_std: tuple[NonNegative, ...]
    """Standard deviation of draws, per channel, not scaled."""
    shards: Annotated[tuple[Shard, ...], Field(min_length=1)]


def read_imported(record: Path) -> Imported:
    """The record of imported latents.

    Raises:
        UserError: it is missing or broken.
    """
    if not record.is_file():
        raise UserError(
            f"latents.source: {record.parent} holds no {IMPORTED}. Make it: {COMMAND} SOURCE {record.parent}"
        )
    read_json(record)  # tells what is no JSON
    try:
        return Imported.model_validate_json(record.read_text())
    except ValidationError as error:
        first = error.errors()[0]
        told = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise UserError(f"{record} is no record of imported latents ({told}). Import them again.") from None


def origin_of(study: Study) -> Origin | None:
    """What is known of a study's latents; None where it encodes them itself, or where they are not here."""
    record = imported_record(study)
    return read_imported(record).origin if study.latents.source is not None and record.is_file() else None


def require_usable(study: Study) -> None:
    """See that imported latents fit a study, from their record alone, and that their images are there too.

    Raises:
        UserError: there are none where the study says, or of another shape or more classes, or the study asks for
            mirrors that they lack; or there are no images.
    """
    source = study.latents.source
    if source is None:
        return
    try:
        check_source(study.data)
    except UserError as error:
        raise UserError(
            f"{error} Imported latents spare encoding, not the images: preflight compares them, and the reference, the "
            "floors of the distance and memorisation are about them."
        ) from None
    found = read_imported(imported_record(study))
    channels, side, classes = study.vae.latent_channels, study.latent_size, study.data.classes
    if found.channels != channels:
        hint = ""
        if found.channels == 2 * channels and not found.origin.log_variance:
            hint = " If half of them are the posterior's spread, import them with --holds mean-std or mean-logvar."
        raise UserError(
            f"latents.source: {source} has {found.channels} channels, vae.latent_channels {channels}.{hint}"
        )
    if found.latent_shape[2:] != (side, side):
        height, width = found.latent_shape[2:]
        raise UserError(
            f"latents.source: {source} has latents of {height}x{width}, but data.image_size {study.data.image_size} "
            f"and vae.downsampling {study.vae.downsampling} make {side}x{side}."
        )
    if len(found.label_histogram) > classes:
        raise UserError(
            f"latents.source: {source} has a latent of class {len(found.label_histogram) - 1}, but data.classes is "
            f"{classes}."
        )
    if study.training.horizontal_flip and not found.origin.mirrored:
        raise UserError(
            f"latents.source: {source} has no latents of mirrored images, but training.horizontal_flip draws them. Set "
            "training.horizontal_flip: false, or leave out latents.source to encode images and mirrors."
        )


def has_shards(record: Path, found: Imported) -> bool:
    """Whether a shard is there; all may be deleted once the studies have their latents."""
    return any((record.parent / shard.file).exists() for shard in found.shards)


def require_record_fits(record: Path, found: Imported, images: ImageSource) -> None:
    """See that a record whose shards are gone is of these images, as far as the number in each class tells.

    Raises:
        UserError: a class has another number of latents than of images.
    """
    ours = np.bincount(images.labels, minlength=len(found.label_histogram))
    theirs = np.pad(found.label_histogram, (0, len(ours) - len(found.label_histogram)))
    more = theirs - ours
    if more.min() < 0 or more.sum() > found.repeats:
        label = int(np.flatnonzero(more)[0])
        raise UserError(
            f"latents.source: {record} tells of {count(int(theirs[label]), 'latent')} of class {label}, but `data` has "
            f"{count(int(ours[label]), 'image')} of it. `data` must name the images that the latents were made of."
        )


class ImportedLatents:
    """Imported latents, memory-mapped, in the order in which they came."""

    def __init__(self, record: Path) -> None:
        """Open what ``record`` describes.

        Raises:
            UserError: record or shards are missing, truncated or altered.
        """
        self.record = record
        self.facts = read_imported(record)
        again = f"Import the latents again: {COMMAND} SOURCE FOLDER"
        self._rows = ShardRows(record, self.facts.shards, self.facts.latent_shape, again=again)
        self.labels = self._rows.labels
        """Class of each, (N,)."""

    def __len__(self) -> int:
        return len(self.labels)

    def moments(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        """Posterior moments of latents ``rows`` (B,), float16 (B, 2, 2C, h, w), not scaled; see `complete`."""
        return complete(self._rows.moments(rows), self.facts.channels)

    def rows_of(self, images: ImageSource) -> NDArray[np.int64]:
        """The latent of each image, (N,): that of its name where all have one, else the one at its place.

        Places in image folders are counted as the latents' layout counts them, elsewhere as the source does.

        Raises:
            UserError: there are more or fewer latents than images, or a label is not that of its image.
        """
        rows = self._rows_by_name(images.keys) if self.facts.named else None
        if rows is None:
            self._require_count(len(images))
            rows = self._rows_by_place(images)
        self._require_labels(rows, images)
        return rows

    def _require_count(self, images: int) -> None:
        """See that there are as many latents as images, but for those at the end that are the first once more."""
        more = len(self) - images
        repeated = 0 <= more <= self.facts.repeats and np.array_equal(self.labels[images:], self.labels[:more])
        if not repeated:
            raise UserError(
                f"latents.source: {self.record.parent} has {count(len(self), 'latent')}, but `data` has "
                f"{count(images, 'image')}. `data` must name the images that the latents were made of, all of them and "
                "no others."
            )

    def _rows_by_place(self, images: ImageSource) -> NDArray[np.int64]:
        """The latent at the place of each image, in an image folder that of the order in which the layout lists it."""
        rows = np.arange(len(images))
        if isinstance(images, FolderSource):
            order = LAYOUTS[self.facts.origin.layout].image_order
            listed = sorted(range(len(images)), key=lambda index: order(images.keys[index]))
            rows[listed] = np.arange(len(images))
        return rows

    def _rows_by_name(self, keys: Iterable[str]) -> NDArray[np.int64] | None:
        """The latent with the name of each image, in whole or without folders and suffix; None unless all have one."""
        names = self._rows.sources
        for shorten in (str, same_letters, _without_suffix, _without_folders):
            places = {shorten(name): row for row, name in enumerate(names)}
            wanted = [shorten(key) for key in keys]
            if len(places) == len(names) == len(wanted) == len(set(wanted)) and places.keys() == set(wanted):
                return np.array([places[name] for name in wanted])
        return None

    def _require_labels(self, rows: NDArray[np.int64], images: ImageSource) -> None:
        found = self.labels[rows]
        wrong = np.flatnonzero(found != images.labels)
        if not len(wrong):
            return
        first = int(wrong[0])
        pairs = set(zip(found.tolist(), images.labels.tolist(), strict=True))
        if len(pairs) == len({one for one, _ in pairs}) == len({other for _, other in pairs}):
            why = (
                "The classes are the same in another order: list their names in the order of the latents' labels in a "
                "file, and set data.class_names"
            )
        else:
            why = (
                "The latents are of other images, in another order than by class and file name, or their labels were "
                "shuffled"
            )
        raise UserError(
            f"latents.source: {len(wrong):,} of {len(found):,} labels are not those of their images: latent "
            f"{self._rows.sources[int(rows[first])]} of {self.record.parent} has label {found[first]}, but its image "
            f"{images.keys[first]} is of class {images.labels[first]} ({images.class_names[images.labels[first]]}). "
            f"{why}."
        )


def complete(stored: NDArray[np.float16], channels: int) -> NDArray[np.float16]:
    """(N, V, C or 2C, h, w) as (N, 2, 2C, h, w): `NO_SPREAD` without log-variance, the image again without mirror."""
    if stored.shape[2] == channels:
        stored = np.concatenate([stored, np.full_like(stored, NO_SPREAD)], axis=2)
    return stored if stored.shape[1] == 2 else np.repeat(stored, 2, axis=1)


def _without_suffix(name: str) -> str:
    return re.sub(r"\.[^./]*$", "", same_letters(name))


def _without_folders(name: str) -> str:
    return _without_suffix(name).rpartition("/")[2]
