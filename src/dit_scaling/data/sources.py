"""Sources of labelled images under one contract."""

import gzip
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dit_scaling.common.errors import UserError
from dit_scaling.config.image_settings import (
    ImageFiles,
    ImageFolder,
    ImageSettings,
    Mnist,
    Parquet,
    Shapes,
    WebDataset,
)
from dit_scaling.data.class_order import folder_classes, numbered_classes
from dit_scaling.data.crop import centre_crop
from dit_scaling.data.listing import IMAGE_SUFFIXES, image_files, mnist_file, tar_files
from dit_scaling.data.parquet_split import split_files
from dit_scaling.data.pixels import describe_fault, flatten, most_pixels, require_usable
from dit_scaling.data.row_groups import RowGroupReader, RowNames, open_parquet
from dit_scaling.data.shapes import OUTLINES, draw_picture
from dit_scaling.data.tars import open_tars


class ImageSource(Protocol):
    """Labelled images in a fixed order."""

    @property
    def keys(self) -> Sequence[str]:
        """Unique names, one per image."""
        ...

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class of each image, 0..classes-1, shape (N,)."""
        ...

    @property
    def class_names(self) -> Sequence[str]:
        """Name of each class, in the order of the labels."""
        ...

    def __len__(self) -> int: ...

    def image(self, index: int) -> NDArray[np.uint8]:
        """One image as uint8 (H, W, C), values 0..255.

        Raises:
            UserError: the image is unreadable.
        """
        ...


@runtime_checkable
class FileSource(ImageSource, Protocol):
    """Images that were encoded elsewhere, in files, in the members of tars or in the rows of Parquet files."""

    @property
    def sizes(self) -> NDArray[np.int64] | None:
        """Bytes of each encoded image, shape (N,); None where only reading all of them would tell."""
        ...

    def encoded(self, index: int) -> bytes:
        """One image as it is stored.

        Raises:
            UserError: it is unreadable.
        """
        ...


def open_source(data: ImageSettings) -> ImageSource:
    """Open the images of a study.

    Raises:
        UserError: the folder is missing, has no classes or no images, has another number of classes than the config,
            or holds tars that are not what they should be.
    """
    if isinstance(data, Mnist):
        return _MnistSource(data)
    if isinstance(data, Shapes):
        return _ShapesSource(data)
    if isinstance(data, Parquet):
        return ParquetSource(data)
    return FolderSource(data) if isinstance(data, ImageFolder) else _TarSource(data)


def read_images(source: ImageSource, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The images at ``indices`` (at least one) as one array, uint8 (N, H, W, C).

    Raises:
        UserError: an image is unreadable.
    """
    return np.stack([source.image(int(index)) for index in indices])


def check_source(data: ImageSettings) -> None:
    """See that the images are there; lists folders only, so it can be asked before any job.

    Raises:
        UserError: the folder is missing, holds no tars, no Parquet files or several splits of them, or more or fewer
            class folders than ``data.classes``.
    """
    if isinstance(data, ImageFolder):
        folder_classes(data)
    elif isinstance(data, WebDataset):
        tar_files(Path(data.path))
    elif isinstance(data, Parquet):
        split_files(data)


class _MnistSource:
    """5,000 digits, 28x28 padded with black to 32x32x1."""

    def __init__(self, data: Mnist) -> None:
        with gzip.open(mnist_file(), "rt") as stream:
            table = np.loadtxt(stream, delimiter=",", dtype=np.uint8)
        self.labels = table[:, -1].astype(np.int64)
        found = int(self.labels.max()) + 1
        if found != data.classes:
            raise UserError(f"data.classes: {data.classes}, but the digits have {found} classes; set it to {found}.")
        digits = table[:, :-1].reshape(-1, 28, 28, 1)
        self._images: NDArray[np.uint8] = np.pad(digits, ((0, 0), (2, 2), (2, 2), (0, 0)))
        self.keys = [f"mnist/{index:04d}" for index in range(len(self.labels))]
        self.class_names = [str(digit) for digit in range(found)]

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> NDArray[np.uint8]:
        pixels: NDArray[np.uint8] = self._images[index]
        return pixels


class _ShapesSource:
    """Generated pictures; each is drawn when it is first asked for, and kept."""

    def __init__(self, data: Shapes) -> None:
        self._data = data
        self._drawn: dict[int, NDArray[np.uint8]] = {}
        self.labels = np.arange(data.images, dtype=np.int64) % data.classes
        self.keys = [f"shapes/{data.seed}/{index:06d}" for index in range(data.images)]
        self.class_names = list(OUTLINES)[: data.classes]

    def __len__(self) -> int:
        return self._data.images

    def image(self, index: int) -> NDArray[np.uint8]:
        if index not in self._drawn:
            data = self._data
            self._drawn[index] = draw_picture(data.seed, index, data.classes, data.image_size)
        return self._drawn[index]


class FolderSource:
    """Images under one folder per class, at any depth."""

    def __init__(self, data: ImageFolder) -> None:
        self._root, self._data = Path(data.path), data
        self.class_names = folder_classes(data)
        self.keys: list[str] = []
        sizes: list[int] = []
        counts = []
        for name in self.class_names:
            files = sorted(image_files(self._root, name))
            if not files:
                raise UserError(
                    f"{self._root / name} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}). "
                    "Add some, or remove the folder and lower data.classes."
                )
            self.keys.extend(path for path, _ in files)
            sizes.extend(size for _, size in files)
            counts.append(len(files))
        self.labels = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
        self.sizes = np.array(sizes, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.keys)

    def encoded(self, index: int) -> bytes:
        path = self._root / self.keys[index]
        try:
            return path.read_bytes()
        except OSError as error:
            raise UserError(f"{path} cannot be read as an image ({error.strerror or error}).") from None

    def image(self, index: int) -> NDArray[np.uint8]:
        return _decode_image(self.encoded(index), self._root / self.keys[index], self._data)


class _TarSource:
    """Images in webdataset tars; classes have numbers, and names where the config gives them."""

    def __init__(self, data: WebDataset) -> None:
        self._root, self._data = Path(data.path), data
        self._index = open_tars(self._root)
        self.keys, self.labels, self.sizes = self._index.keys, self._index.label, self._index.size
        _require_numbers(self.labels, self.keys, data, "the .cls members")
        self.class_names = numbered_classes(data)

    def __len__(self) -> int:
        return len(self.keys)

    def encoded(self, index: int) -> bytes:
        path = self._root / self._index.tars[self._index.tar[index]]
        try:
            with path.open("rb") as stream:
                stream.seek(self._index.offset[index])
                content: bytes = stream.read(self._index.size[index])
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror or error}.") from None
        return content

    def image(self, index: int) -> NDArray[np.uint8]:
        return _decode_image(self.encoded(index), self._root / self.keys[index], self._data)


class ParquetSource:
    """Images in Parquet files, whose classes have numbers, and names where the config or the files give them."""

    sizes = None

    def __init__(self, data: Parquet) -> None:
        self._root, self._data = Path(data.path), data
        index = open_parquet(data, split_files(data))
        self._reader = RowGroupReader(data, index)
        self.keys, self.labels = RowNames(index), index.label
        self.group: NDArray[np.int64] = index.group
        """Row group of each image, which is read as a whole, (N,) ascending."""
        self.largest = index.largest
        """Bytes of the largest row group."""
        self.class_names = numbered_classes(data, index.class_names)
        _require_numbers(self.labels, self.keys, data, f"the column {data.label_column}")

    def __len__(self) -> int:
        return len(self.labels)

    def encoded(self, index: int) -> bytes:
        return self._reader.encoded(index)

    def image(self, index: int) -> NDArray[np.uint8]:
        return _decode_image(self.encoded(index), self._root / self.keys[index], self._data)


def _require_numbers(labels: NDArray[np.int64], keys: Sequence[str], data: WebDataset | Parquet, where: str) -> None:
    """See that the numbers of the classes are 0..classes-1.

    Raises:
        UserError: one is larger, or a class has no image.
    """
    largest = int(labels.max())
    if largest >= data.classes:
        raise UserError(
            f"data.classes: {data.classes}, but {data.path} has images of class {largest}, such as "
            f"{keys[int(np.argmax(labels))]}. Correct data.classes or {where}."
        )
    counts = np.bincount(labels, minlength=data.classes)
    if not counts.all():
        raise UserError(
            f"data.classes: {data.classes}, but {data.path} has no image of class {int(np.argmin(counts))}. Class "
            f"numbers begin with 0; correct data.classes or {where}."
        )


def _decode_image(content: bytes, name: Path, data: ImageFiles) -> NDArray[np.uint8]:
    most_pixels()  # a wrong variable is no fault of the image
    try:
        with Image.open(io.BytesIO(content)) as image:
            require_usable(image)
            flat = flatten(image, data.channels, data.background, data.exif_transpose)
            return centre_crop(flat, data.image_size, data.channels)
    except Exception as error:  # broken bytes make Pillow's decoders raise nearly anything
        fault = describe_fault(content, error)
        raise UserError(f"{name} cannot be read as an image ({fault}). Repair it, or take it out of the set.") from None
