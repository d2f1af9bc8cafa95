"""Sources of labelled images under one contract."""

import gzip
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dit_scaling.config.study import ImageFolder, Mnist
from dit_scaling.data.crop import centre_crop
from dit_scaling.data.listing import IMAGE_SUFFIXES, class_folders, image_files, mnist_file
from dit_scaling.errors import UserError

logger = logging.getLogger(__name__)

IMAGENET_TRAINING = 1_281_167
IMAGENET_TRAINING_AND_VALIDATION = 1_331_167


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


def open_source(data: Mnist | ImageFolder) -> ImageSource:
    """Open the images of a study.

    Raises:
        UserError: the folder is missing or has no classes, no images, or another number of classes than the config.
    """
    return _MnistSource(data) if isinstance(data, Mnist) else _FolderSource(data)


def read_images(source: ImageSource, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The images at ``indices`` (at least one) as one array, uint8 (N, H, W, C).

    Raises:
        UserError: an image is unreadable.
    """
    return np.stack([source.image(int(index)) for index in indices])


def check_source(data: ImageFolder) -> list[str]:
    """Class names of an image folder; looks at its class folders only, so it can be asked before any job.

    Raises:
        UserError: the folder is missing, or has more or fewer class folders than ``data.classes``.
    """
    names = class_folders(Path(data.path))
    if len(names) != data.classes:
        raise UserError(
            f"data.classes: {data.classes}, but {data.path} holds {len(names)} class folders "
            f"({_abbreviated(names)}). Correct data.classes or data.path."
        )
    return names


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


class _FolderSource:
    """Images under one folder per class, at any depth."""

    def __init__(self, data: ImageFolder) -> None:
        self._root, self._size, self._channels = Path(data.path), data.image_size, data.channels
        self.class_names = check_source(data)
        self.keys: list[str] = []
        counts = []
        for name in self.class_names:
            files = sorted(path for path, _ in image_files(self._root, name))
            if not files:
                raise UserError(
                    f"{self._root / name} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}). "
                    "Add some, or remove the folder and lower data.classes."
                )
            self.keys.extend(files)
            counts.append(len(files))
        self.labels = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
        _warn_of_leak(self._root, len(self.keys))

    def __len__(self) -> int:
        return len(self.keys)

    def image(self, index: int) -> NDArray[np.uint8]:
        path = self._root / self.keys[index]
        try:
            with Image.open(path) as image:
                return centre_crop(image, self._size, self._channels)
        # What Pillow's decoders raise on broken files; DecompressionBombError on absurd sizes.
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise UserError(f"{path} cannot be read as an image ({error}). Repair or remove it.") from None


def _warn_of_leak(root: Path, count: int) -> None:
    if count == IMAGENET_TRAINING_AND_VALIDATION:
        logger.warning(
            "%s holds %d images: ImageNet's training set (%d) together with its validation set. Validation images "
            "would be trained on, and distances to them would mean nothing. Point data.path at the training set.",
            root,
            count,
            IMAGENET_TRAINING,
        )


def _abbreviated(names: Sequence[str], limit: int = 5) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown}, ..."
