"""The memorisation stage: the training image and the held-out image nearest to each sample."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dit_scaling.common.files import write_json
from dit_scaling.config.stages import MemorisationSettings
from dit_scaling.data.reading_order import together
from dit_scaling.data.sources import ImageSource, open_source, read_images
from dit_scaling.data.split import split_indices
from dit_scaling.metrics.arrays import Array
from dit_scaling.metrics.copying import copying_test, held_out_share, stream_nearest
from dit_scaling.metrics.neighbours import Neighbours, nearest_neighbours
from dit_scaling.sampling.images import read_samples, write_grid

SIDE = 32  # pixels; larger images are averaged down to it
MAX_TRAINING = 50_000
MAX_SAMPLES = 5_000
MAX_HELD_OUT = 5_000
SHOWN = 10
BATCH = 1000


def measure_memorisation(settings: MemorisationSettings, parts: list[Path], output: Path, picture: Path) -> None:
    """Search the training set for the samples in ``parts``; write what was found, and the closest as a picture.

    The record holds the medians of the distances, `CopyingTest`, `HeldOutShare`, and the ``SHOWN`` samples that are
    nearest to a training image in proportion to their distance to a held-out one, each with the names of both.
    Distances are root mean squares over pixels, 0..255. The picture shows these samples, below them the training, then
    the held-out images.

    Raises:
        UserError: a part is missing or altered, or an image is unreadable.
    """
    source = open_source(settings.data.data)
    train, held_out = split_indices(len(source), settings.data.data.held_out, settings.data.seed)
    searched, unseen = (together(source, some) for some in (train[:MAX_TRAINING], held_out[:MAX_HELD_OUT]))
    images = _read_first_samples(parts)
    samples, unseen_pixels = to_pixels(images), np.concatenate(list(_read_chunks(source, unseen)))

    queries = np.concatenate([samples, unseen_pixels])
    found = stream_nearest(queries, _read_chunks(source, searched))
    to_training, unseen_to_training = np.split(found.distance[:, 0], [len(samples)])
    to_held_out = nearest_neighbours(samples, unseen_pixels)
    of_samples = Neighbours(found.index[: len(samples)], found.distance[: len(samples)])

    # By the distance alone, plain images would come first: the digit 1, which is near to every other 1.
    likeness = to_training / np.maximum(to_held_out.distance[:, 0], np.finfo(np.float64).tiny)
    closest = np.argsort(likeness, kind="stable")[:SHOWN]
    nearest = searched[found.index[closest, 0]], unseen[to_held_out.index[closest, 0]]
    write_grid(
        picture, np.concatenate([images[closest], *(read_images(source, some) for some in nearest)]), len(closest)
    )
    write_json(
        output,
        {
            "samples": len(samples),
            "training": len(searched),
            "training_share": len(searched) / len(train),
            "held_out": len(unseen),
            "median_to_training": float(np.median(to_training)),
            "median_held_out_to_training": float(np.median(unseen_to_training)),
            "copying_test": asdict(copying_test(to_training, unseen_to_training)),
            "held_out_share": asdict(held_out_share(of_samples, to_held_out, len(searched), len(unseen))),
            "closest": list(_describe_closest(source, closest, nearest, found, to_held_out)),
            "settings_digest": settings.digest,
        },
    )


def to_pixels(images: NDArray[np.uint8]) -> Array:
    """Images (N, H, W, C) as rows (N, D), averaged over areas to at most ``SIDE`` pixels a side.

    Divided by sqrt(D): the Euclidean distance of two rows is the root mean square of their pixels' difference.
    """
    pixels = images.astype(np.float64)
    if max(images.shape[1:3]) > SIDE:
        channels = range(images.shape[3])
        pixels = np.stack([np.stack([_shrink(image[..., c]) for c in channels], axis=-1) for image in images])
    rows = pixels.reshape(len(images), -1)
    return np.asarray(rows / np.sqrt(rows.shape[1]), dtype=np.float64)


def _shrink(channel: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(Image.fromarray(channel.astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BOX))


def _read_first_samples(parts: list[Path]) -> NDArray[np.uint8]:
    """The first ``MAX_SAMPLES`` images, (N, H, W, C), of as few parts as hold them."""
    images: list[NDArray[np.uint8]] = []
    for part in parts:
        images.extend(read_samples(part).images)
        if len(images) >= MAX_SAMPLES:
            break
    return np.stack(images[:MAX_SAMPLES])


def _read_chunks(source: ImageSource, indices: NDArray[np.int64]) -> Iterator[Array]:
    for start in range(0, len(indices), BATCH):
        yield to_pixels(read_images(source, indices[start : start + BATCH]))


def _describe_closest(
    source: ImageSource,
    closest: NDArray[np.int64],
    nearest: tuple[NDArray[np.int64], NDArray[np.int64]],
    to_training: Neighbours,
    to_held_out: Neighbours,
) -> Iterator[dict[str, Any]]:
    for sample, training, held_out in zip(closest, *nearest, strict=True):
        yield {
            "sample": int(sample),
            "training": source.keys[training],
            "to_training": float(to_training.distance[sample, 0]),
            "held_out": source.keys[held_out],
            "to_held_out": float(to_held_out.distance[sample, 0]),
        }
