"""What every layout gives: latents in the order of their images, as they are stored, and what is known of them."""

import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import read_regular
from dit_scaling.common.foreign import name_foreign
from dit_scaling.common.npy_header import read_npy_header

T = TypeVar("T")
R = TypeVar("R")

Holds = Literal["latent", "mean-std", "mean-logvar"]
"""What a latent's channels are: of one latent, or of the posterior's mean and then its standard deviation or the
logarithm of its variance."""
MOST_BYTES = 1 << 26
READERS = 16
AHEAD = 256


@dataclass(frozen=True)
class ForeignSample:
    """One image's latents."""

    where: str
    """File, and row or key, for messages."""
    values: NDArray[Any]
    """(V, K, h, w): the image, and where V is 2 its mirror, in any type of number."""
    label: int
    image: str
    """Name of its image, or what stands for one."""


@dataclass(frozen=True)
class Foreign:
    """A set of latents that was found in a layout; nothing of it but names and labels was read."""

    count: int
    samples: Iterator[ForeignSample]
    """All of them, read as one asks for them, in the order that `Layout.image_order` gives their images."""
    each: str
    """What one of them is, in words."""
    holds: Holds | None
    """None where the layout does not say."""
    multiplied_by: float | None
    """What the latents were multiplied by when they were stored; None where the layout does not say."""
    named: bool = False
    """Whether `ForeignSample.image` may be the name of an image in its source."""
    repeats: int = 0
    """So many of the last may be the first once more."""
    ours: bool = False
    """Whether they lie in shards of this package, beside which a record may tell what they are."""


@dataclass(frozen=True)
class Layout:
    """One way to lay latents out."""

    name: str
    files: str
    """Its files, for people."""
    found: Callable[[Path], bool]
    """Whether a folder looks like it."""
    open: Callable[[Path], Foreign]
    """Raises UserError where files are missing, double or not what they should be."""
    image_order: Callable[[str], Any]
    """What sorts the paths of the images in an image folder, CLASS/.../FILE, into the order of their latents."""


def by_path(path: str) -> str:
    """Images of all classes and folders in the order of their paths as text: cat-big/x.png stands before cat/x.png."""
    return path


def by_folder(path: str) -> tuple[str, str, str]:
    """The order of torchvision's ImageFolder: class by class, the images of a folder before those of folders in it."""
    folder, _, name = path.rpartition("/")
    return folder.partition("/")[0], folder, name


def read_npy(path: Path, name: str) -> NDArray[Any]:
    """The numbers of a .npy file; nothing is unpickled.

    Raises:
        UserError: it is missing, truncated, or holds no numbers.
    """
    return parse_npy(read_regular(path, MOST_BYTES), name)


def parse_npy(content: bytes, name: str) -> NDArray[Any]:
    """The numbers of a .npy file from its bytes; nothing is unpickled.

    Raises:
        UserError: it is truncated, or holds no numbers.
    """
    stream = io.BytesIO(content)
    try:
        shape, fortran, dtype = read_npy_header(stream)
    except ValueError as error:
        told = name_foreign(content[:64]) or f"no npy file ({error})"
        raise UserError(f"{name} is {told}. Get it again.") from None
    if dtype.kind not in "fiu":
        raise UserError(f"{name} holds {dtype}, where numbers should be; nothing is unpickled.")
    body = content[stream.tell() :]
    if len(body) != int(np.prod(shape)) * dtype.itemsize or min(shape, default=0) < 0:
        raise UserError(f"{name} was cut short: {len(body)} bytes for {dtype} {shape}. Get it again.")
    return np.frombuffer(body, dtype).reshape(shape, order="F" if fortran else "C")


def one_view(array: NDArray[Any], name: str) -> NDArray[Any]:
    """(C, h, w), or (1, C, h, w), as (1, C, h, w).

    Raises:
        UserError: it has another shape.
    """
    if array.ndim == 3 or (array.ndim == 4 and len(array) == 1):
        return array.reshape(1, *array.shape[-3:])
    raise UserError(f"{name} has shape {array.shape}; a latent has (C, h, w) or (1, C, h, w).")


def whole_label(value: object, name: str) -> int:
    """The number of a class.

    Raises:
        UserError: it is no whole number from 0 on.
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.item() if value.size == 1 and value.dtype.kind in "iu" else value.shape
    if type(value) is not int or not 0 <= value < 10**6:
        raise UserError(f"{name}: {value!r} is no number of a class.")
    return value


def read_in_order(read: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """``read`` of each item in their order, by threads that are some items ahead: small files cost waiting."""
    threads = ThreadPoolExecutor(READERS, "latents")
    reading = deque[Future[R]]()
    try:
        for item in items:
            reading.append(threads.submit(read, item))
            if len(reading) > AHEAD:
                yield reading.popleft().result()
        while reading:
            yield reading.popleft().result()
    finally:
        threads.shutdown(cancel_futures=True)
