"""Samples on disk: npz parts as ADM's evaluation suite reads them, and picture grids."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import atomic_path

FIRST = 20  # images of each part that stay in any case


@dataclass(frozen=True)
class Samples:
    """A run of consecutive samples."""

    images: NDArray[np.uint8]
    """(N, H, W, C) in 0..255; ``arr_0`` of the npz."""
    labels: NDArray[np.int64]
    """(N,); ``arr_1``."""
    indices: NDArray[np.int64]
    """(N,) index of each sample, from which noise and label follow; ``index``."""


def write_samples(path: Path, samples: Samples) -> None:
    """Write one part as npz, atomically."""
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, arr_0=samples.images, arr_1=samples.labels, index=samples.indices)


def read_samples(path: Path) -> Samples:
    """Read one part.

    Raises:
        UserError: the file is missing, torn, or not one of ours.
    """
    with _whole(path), np.load(path, allow_pickle=False) as file:
        samples = Samples(file["arr_0"], file["arr_1"], file["index"])
    whole = samples.images.dtype == np.uint8 and samples.images.ndim == 4
    if not (whole and samples.images.shape[:1] == samples.labels.shape == samples.indices.shape):
        raise UserError(f"{path}: images, labels and indices do not match. Delete it and rerun rule sample.")
    return samples


def read_indices(path: Path) -> NDArray[np.int64]:
    """The indices of one part alone.

    Raises:
        UserError: the file is missing, torn, or not one of ours.
    """
    with _whole(path), np.load(path, allow_pickle=False) as file:
        return np.asarray(file["index"])


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Name a part that cannot be read."""
    try:
        yield
    # A plain array is no context manager: TypeError.
    except (OSError, KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is no whole part of samples ({error}). Delete it and rerun rule sample.") from None


def write_grid(path: Path, images: NDArray[np.uint8], columns: int, zoom: int = 1) -> None:
    """Write images (N, H, W, C) as one PNG, see `draw_grid`."""
    with atomic_path(path) as temporary:
        draw_grid(images, columns, zoom).save(temporary, "PNG")


def draw_grid(images: NDArray[np.uint8], columns: int, zoom: int = 1) -> Image.Image:
    """Images (N, H, W, C) row by row as one picture, with a pixel of white between them."""
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + 1) + 1, columns * (width + 1) + 1, channels), 255, dtype=np.uint8)
    for number, image in enumerate(images):
        top, left = 1 + (number // columns) * (height + 1), 1 + (number % columns) * (width + 1)
        sheet[top : top + height, left : left + width] = image
    picture = Image.fromarray(sheet[:, :, 0] if channels == 1 else sheet)
    return picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.NEAREST)
