"""Encoding images to shards of latents, one job per shard."""

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from dit_scaling.common.errors import UserError
from dit_scaling.common.lacking_memory import memory_named
from dit_scaling.common.progress import track
from dit_scaling.common.words import count
from dit_scaling.config.stages import LatentsSettings
from dit_scaling.data.reading_order import reading_order
from dit_scaling.data.sources import ImageSource, open_source
from dit_scaling.data.split import split_indices
from dit_scaling.latents.autoencoder import encode_moments, for_encoding, open_vae
from dit_scaling.latents.manifest import ChannelSums, ShardJob, write_facts
from dit_scaling.latents.shards import LatentSample, to_float16, write_shard

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

BATCHES_AHEAD = 2


@dataclass(frozen=True)
class Encoding:
    """How a job encodes; nothing here changes what it writes, but for the rounding of sums."""

    device: torch.device
    batch_size: int
    """Images at a time."""
    readers: int = 1
    """Threads that read and crop images while those before them are encoded."""
    log_seconds: float = 10.0
    """Between two lines of progress."""


def encode_shard(job: ShardJob, how: Encoding) -> None:
    """Encode the images of a shard, and their mirrors; memory does not grow with their number.

    Raises:
        UserError: an image or the autoencoder is unusable, latents do not fit float16, the memory is not enough, or a
            shard would be empty.
    """
    settings, name = job.settings, f"{job.split} shard {job.number}"
    source = open_source(settings.vae.data.data)
    indices = shard_indices(settings, job.split, job.number, split_in_order(settings, source, job.split))
    vae = for_encoding(open_vae(job.vae_json), how.device)
    sums = ChannelSums(vae.config.latent_channels, vae.config.scaling_factor)
    samples = _encode(vae, source, indices, sums, how, settings.latents.precision)
    with memory_named(name, "resources.encode_batch", how.batch_size, "images"):
        write_shard(job.output, track(samples, len(indices), f"{name}, image", how.log_seconds))
    write_facts(job, np.bincount(source.labels[indices], minlength=len(source.class_names)), sums)


def split_in_order(settings: LatentsSettings, source: ImageSource, split: str) -> NDArray[np.int64]:
    """Indices of a split's images, in the order in which they are read fast: its shards are runs of them."""
    data = settings.vae.data
    train, held_out = split_indices(len(source), data.data.held_out, data.seed)
    return reading_order(source, train if split == "train" else held_out)


def shard_indices(settings: LatentsSettings, split: str, shard: int, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """The run of a split's indices that belongs to one shard.

    Raises:
        UserError: there are more shards than images, or no shard of that number.
    """
    key = "shards" if split == "train" else "held_out_shards"
    shards = settings.latents.shards if split == "train" else settings.latents.held_out_shards
    if shards > len(indices):
        raise UserError(f"latents.{key}: {shards} shards for {count(len(indices), 'image')}; choose fewer.")
    if not 0 <= shard < shards:
        raise UserError(f"latents.{key}: {shards}, so there is no {split} shard {shard}.")
    return np.array_split(indices, shards)[shard]


def _encode(
    vae: "AutoencoderKL",
    source: ImageSource,
    indices: NDArray[np.int64],
    sums: ChannelSums,
    how: Encoding,
    precision: str,
) -> Iterator[LatentSample]:
    """Encode batch by batch; ``sums`` counts what is yielded."""
    batches = [indices[start : start + how.batch_size] for start in range(0, len(indices), how.batch_size)]
    with closing(_images_ahead(source, batches, how.readers)) as ready:
        for batch, images in zip(batches, ready, strict=True):
            both = [encode_moments(vae, seen, precision) for seen in (images, images[:, :, ::-1])]
            moments = np.stack(both, axis=1)
            for index, pair in zip(batch.tolist(), moments, strict=True):
                name = source.keys[index]
                rounded = to_float16(pair, name)
                sums.add(rounded)
                yield LatentSample(index, rounded, int(source.labels[index]), name)


def _images_ahead(
    source: ImageSource, batches: Sequence[NDArray[np.int64]], readers: int
) -> Generator[NDArray[np.uint8], None, None]:
    """The images of each batch, uint8 (N, H, W, C), in their order; those of the next batches are read meanwhile.

    Decoding and cropping leave Python to other threads. At most ``BATCHES_AHEAD`` batches wait.
    """
    with ThreadPoolExecutor(readers, "images") as threads:
        reading = deque[list[Future[NDArray[np.uint8]]]]()
        try:
            for number in range(len(batches)):
                while len(reading) <= BATCHES_AHEAD and number + len(reading) < len(batches):
                    coming = batches[number + len(reading)].tolist()
                    reading.append([threads.submit(source.image, index) for index in coming])
                yield np.stack([image.result() for image in reading.popleft()])
        finally:
            threads.shutdown(cancel_futures=True)
