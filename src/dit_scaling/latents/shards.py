"""One shard: a webdataset tar of posterior moments.

Each image is two members, ``KEY.json`` with its label and source and ``KEY.latent.npy`` with float16
(2, 2C, h, w): image and mirror; mean, then log-variance. KEY is the image's index in the source, zero-padded.
Neither is scaled: the manifest holds the scale.
"""

import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import webdataset
from numpy.typing import NDArray

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import atomic_path


@dataclass(frozen=True)
class LatentSample:
    """One image's latents on their way to a shard."""

    index: int
    """Index of the image in its source."""
    moments: NDArray[np.float16]
    """(2, 2C, h, w): image and mirror; mean, then log-variance."""
    label: int
    source: str
    """Name of the image in its source."""


def write_shard(path: Path, samples: Iterable[LatentSample]) -> None:
    """Write samples as one tar, streaming; equal samples give equal bytes. On an error nothing is left."""
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as stream,
        webdataset.TarWriter(stream, encoder=False, mtime=0) as writer,
    ):
        for sample in samples:
            facts = {"label": sample.label, "source": sample.source}
            writer.write(
                {
                    "__key__": f"{sample.index:08d}",
                    "json": json.dumps(facts, sort_keys=True).encode(),
                    "latent.npy": _npy_bytes(sample.moments),
                }
            )


ENCODED = "the autoencoder encodes this image to {fault}. Check the VAE and the image."


def to_float16(moments: NDArray[np.floating], source: str, told: str = ENCODED) -> NDArray[np.float16]:
    """Round to float16, the shards' precision; ``told`` is the complaint, with a place for the ``fault``.

    Raises:
        UserError: a number is not finite, or too large for float16.
    """
    with np.errstate(over="ignore"):
        rounded = moments.astype(np.float16)
    if not np.isfinite(rounded).all():
        reason = "numbers too large for float16" if np.isfinite(moments).all() else "NaN or infinity"
        raise UserError(f"{source}: {told.format(fault=reason)}")
    return rounded


def _npy_bytes(array: NDArray[np.float16]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
