"""What every extractor has: uint8 images in, float32 features out, and what a record says of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dit_scaling.common.devices import matrix_products
from dit_scaling.common.errors import UserError
from dit_scaling.common.files import sha256_file

Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class Features:
    """Features of a batch of images."""

    values: NDArray[np.float32]
    """(N, D)."""
    classes: NDArray[np.int64] | None = None
    """(N,) predicted labels, where the extractor is a classifier of the study's labels."""
    spatial: NDArray[np.float32] | None = None
    """(N, 2023) of Inception's mixed_6/conv, the features behind sFID, where ADM's suite has them."""


class Extractor(Protocol):
    """What every extractor has. The name stands in every metric made from its features; only Inception's make a FID."""

    name: str
    """Column suffix: the Frechet distance is ``fd_NAME``; on Inception's features it is ``fid`` or ``clean_fid``."""
    dim: int
    description: str
    """Network and layer, for people."""
    resize: str
    """How images come to the network's size, for people."""
    weights_sha256: str
    logit_weights: NDArray[np.float32] | None
    """(classes, D) of Inception's output layer, whose bias ADM's Inception score leaves out; else None."""

    def __call__(self, images: NDArray[np.uint8]) -> Features:
        """Features of images (N, H, W, C) in 0..255."""
        ...


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Float32 for all that an extractor computes, whatever precision its process has set for other things."""
    with matrix_products("float32"), torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
        yield


def load_weights(weights: Path, load: Callable[[Path], Loaded]) -> tuple[Loaded, str]:
    """What ``load`` makes of the given file, and the file's sha256. Nothing is ever downloaded.

    Raises:
        UserError: the file is missing or ``load`` cannot read it; names the command to run.
    """
    if not weights.is_file():
        raise UserError(
            f"weights: {weights} does not exist. Where there is a network, run: dit-scaling prefetch STUDY.yaml"
        )
    try:
        return load(weights), sha256_file(weights)
    except UserError:
        raise
    except Exception as error:  # broken bytes make torch raise nearly anything
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"weights: {weights} is not the network it should be ({reason}). Put the right file there; where the "
            "config gives its name and no path, dit-scaling prefetch STUDY.yaml fetches it again."
        ) from None


def to_rgb(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images (N, H, W, 1 or 3) with three channels, grey ones repeated."""
    return images if images.shape[3] == 3 else images.repeat(3, axis=3)


def to_pixels(images: NDArray[np.generic], device: torch.device) -> Tensor:
    """Images (N, H, W, C) as float32 (N, C, H, W), values as they are."""
    return torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2).float()
