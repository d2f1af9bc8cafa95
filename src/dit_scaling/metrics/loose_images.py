"""Images of any origin, without labels: ADM's npz, a folder or a tar, read a batch at a time."""

import hashlib
import io
import lzma
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dit_scaling.common.errors import UserError
from dit_scaling.data.crop import centre_crop
from dit_scaling.data.listing import IMAGE_SUFFIXES, image_files
from dit_scaling.data.pixels import describe_fault, flatten, most_pixels, require_usable, traits
from dit_scaling.data.tars import TarError, require_end, tar_members
from dit_scaling.metrics.features import to_rgb
from dit_scaling.sampling.archive import count_images, read_image_batches

LOSSY = frozenset({"JPEG", "MPO", "JPEG2000", "WEBP", "AVIF", "GIF"})
"""Pillow's formats that change the pixels, or may; GIF has 256 colours."""
NPZ = "npz"
LISTED = 5  # of what an npz holds that has no images


@dataclass(eq=False)
class LooseImages:
    """A set of images in a fixed order, and what reading them has shown so far."""

    path: Path
    count: int
    _read: Callable[["LooseImages", int], Iterator[tuple[str, Image.Image]]]
    formats: Counter[str] = field(default_factory=Counter)
    """Pillow's name of each format, or npz, to number of images."""
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    """(height, width) as stored, to number of images."""
    transparent: int = 0
    """How many have pixels that are not opaque."""
    copies: int = 0
    """How many are the same as one before them, pixel by pixel; where `counting_copies` has seen them all."""

    @property
    def lossy(self) -> int:
        """How many were stored in a format that changes pixels."""
        return sum(count for name, count in self.formats.items() if name in LOSSY)

    def batches(self, size: int, side: int | None = None) -> Iterator[NDArray[np.uint8]]:
        """The images, uint8 (N, H, W, 3), grey ones with equal channels, in batches of ``size``.

        Args:
            size: of a batch.
            side: where given, images of another size become squares of this side, as ADM's training images do.

        Raises:
            UserError: an image is unreadable, or no ``side`` is given and two images differ in size.
        """
        batch: list[NDArray[np.uint8]] = []
        for name, image in self._read(self, size):
            self.sizes[image.height, image.width] += 1
            if side is not None and image.size != (side, side):
                batch.append(centre_crop(image, side))
            elif side is None and len(self.sizes) > 1:
                (height, width), (other_height, other_width) = list(self.sizes)[:2]
                raise UserError(
                    f"{name} has {other_width} x {other_height} pixels, the images of {self.path} before it "
                    f"{width} x {height}. All have to be of one size, unless they are a reference of square samples."
                )
            else:
                batch.append(np.asarray(image))
            if len(batch) == size:
                yield np.stack(batch)
                batch = []
        if batch:
            yield np.stack(batch)


def counting_copies(images: LooseImages, batches: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    """The same batches; after the last one ``images`` knows its copies. Keeps a short hash of each image."""
    seen: set[bytes] = set()
    for batch in batches:
        contents = [hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in batch]
        images.copies += len(contents) - len(set(contents) - seen)
        seen.update(contents)
        yield batch


def open_images(path: Path) -> LooseImages:
    """Open an npz with ``arr_0``, a tar of images, or a folder of images (at any depth) or of tars.

    Raises:
        UserError: there is nothing, or no images.
    """
    if path.is_dir():
        _refuse_parts(path)
        files, tars = _image_files(path), sorted(path.glob("*.tar"))
        if files:
            return LooseImages(path, len(files), lambda images, _: _decoded(images, _folder(files)))
        if tars:
            return LooseImages(path, _count_members(tars), lambda images, _: _decoded(images, _members(tars)))
        other = " Of npz files, name one." if any(path.glob("*.npz")) else ""
        raise UserError(f"{path} holds no images (.png, .jpg, ...) and no tars of images.{other}")
    if not path.is_file():
        raise UserError(f"{path} does not exist. Give an npz with arr_0, a folder of images, or a tar of images.")
    if zipfile.is_zipfile(path):
        if not (count := count_images(path)):
            with zipfile.ZipFile(path) as archive:
                held = ", ".join(name.removesuffix(".npy") for name in archive.namelist()[:LISTED]) or "nothing"
            raise UserError(
                f"{path} has no images in arr_0, uint8 of shape (N, H, W, 3); it holds {held}. A reference may have mu "
                "and sigma, moments, in place of images."
            )
        return LooseImages(path, count, _of_archive)
    if tarfile.is_tarfile(path):
        return LooseImages(path, _count_members([path]), lambda images, _: _decoded(images, _members([path])))
    raise UserError(f"{path} is neither an npz, nor a tar, nor a folder of images.")


def _refuse_parts(folder: Path) -> None:
    """Raises UserError where a study's samples lie here: the pictures beside them show a hundred samples each."""
    for evaluation, parts in ((folder, folder / "samples"), (folder.parent, folder)):
        if any(parts.glob("part-*.provenance.json")):
            raise UserError(
                f"{parts} holds a study's samples in parts. Join them, and score the file: "
                f"dit-scaling export-samples {evaluation} samples.npz"
            )


def _image_files(folder: Path) -> list[Path]:
    """The images at any depth, in the order of their paths; hidden folders and those of systems are left out."""
    try:
        return sorted(folder / path for path, _ in image_files(folder, ""))
    except UserError as error:
        raise UserError(str(error).removeprefix("data.path: ")) from None  # the key of a study


def _is_image(name: str) -> bool:
    file = PurePath(name)
    return file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")


def _of_archive(images: LooseImages, size: int) -> Iterator[tuple[str, Image.Image]]:
    for batch in read_image_batches(images.path, size):
        for image in to_rgb(batch):
            images.formats[NPZ] += 1
            yield f"{images.path}: image {images.formats[NPZ] - 1}", Image.fromarray(image)


def _folder(files: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    for file in files:
        try:
            yield str(file), file.read_bytes()
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror or error}.") from None


def _members(tars: Iterable[Path], *, read: bool = True) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the images in tars; without content unless ``read``.

    Raises:
        UserError: a tar is damaged or cut short, or an image in it is a link.
    """
    for tar in tars:
        try:
            with tarfile.open(tar) as archive:
                for _, _, member in tar_members(archive, IMAGE_SUFFIXES):
                    if _is_image(member.name):
                        content = archive.extractfile(member) if read else None
                        yield f"{tar}: {member.name}", content.read() if content else b""
                require_end(archive, cast("BinaryIO", archive.fileobj))
        # Of compressed tars each decoder raises its own.
        except (tarfile.TarError, TarError, OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise UserError(f"{tar} cannot be read as a tar ({error}). Make or download it again.") from None


def _count_members(tars: Iterable[Path]) -> int:
    count = sum(1 for _ in _members(tars, read=False))
    if count == 0:
        raise UserError(f"{', '.join(map(str, tars))}: no images (.png, .jpg, ...) inside.")
    return count


def _decoded(images: LooseImages, contents: Iterator[tuple[str, bytes]]) -> Iterator[tuple[str, Image.Image]]:
    most_pixels()  # a wrong variable is no fault of an image
    for name, content in contents:
        try:
            with Image.open(io.BytesIO(content)) as image:
                require_usable(image)
                flat = flatten(image, 3, None, upright=False)
                images.formats[str(image.format)] += 1
                images.transparent += traits(image).transparent
        except Exception as error:  # broken bytes make Pillow's decoders raise nearly anything
            fault = describe_fault(content, error)
            raise UserError(f"{name} cannot be read as an image ({fault}). Repair it, or take it out.") from None
        yield name, flat
