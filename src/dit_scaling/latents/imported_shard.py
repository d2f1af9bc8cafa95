"""A study's shards from imported latents, in the place of encoding."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import read_json
from dit_scaling.common.progress import track
from dit_scaling.data.sources import ImageSource, open_source
from dit_scaling.latents.encode import shard_indices, split_in_order
from dit_scaling.latents.imported import ImportedLatents
from dit_scaling.latents.manifest import ChannelSums, ShardJob, write_facts
from dit_scaling.latents.shards import LatentSample, write_shard

CHUNK = 256
"""Latents in memory at a time."""


def take_shard(job: ShardJob, imported: Path, log_seconds: float = 10.0) -> None:
    """Write the latents of the images that `encode_shard` would encode.

    Args:
        job: which shard; its autoencoder, of which the latents are, gives the scale.
        imported: record of the imported latents.
        log_seconds: seconds between two lines of progress.

    Raises:
        UserError: the latents are not those of the study's images, or damaged, or a shard would be empty.
    """
    settings = job.settings
    source, latents = open_source(settings.vae.data.data), ImportedLatents(imported)
    rows = latents.rows_of(source)
    indices = shard_indices(settings, job.split, job.number, split_in_order(settings, source, job.split))
    sums = ChannelSums(latents.facts.channels, _scale(job.vae_json))
    samples = _samples(latents, rows, source, indices, sums)
    write_shard(job.output, track(samples, len(indices), f"{job.split} shard {job.number}, latent", log_seconds))
    histogram = np.bincount(source.labels[indices], minlength=len(source.class_names))
    write_facts(job, histogram, sums, latents.facts.origin)


def _scale(vae_json: Path) -> float:
    """By which the study's autoencoder has its latents multiplied."""
    try:
        return float(read_json(vae_json)["scaling_factor"])
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{vae_json} is no record of an autoencoder. Rerun the vae stage.") from None


def _samples(
    latents: ImportedLatents,
    rows: NDArray[np.int64],
    source: ImageSource,
    indices: NDArray[np.int64],
    sums: ChannelSums,
) -> Iterator[LatentSample]:
    """The latents of the images at ``indices``; ``sums`` counts what is yielded."""
    for start in range(0, len(indices), CHUNK):
        some = indices[start : start + CHUNK]
        for index, moments in zip(some.tolist(), latents.moments(rows[some]), strict=True):
            sums.add(moments)
            yield LatentSample(index, moments, int(source.labels[index]), source.keys[index])
