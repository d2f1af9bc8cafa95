"""A study's shards from imported latents, in the place of encoding."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import read_json
from dit_scaling.common.progress import track
from dit_scaling.config.stages import LatentsSettings
from dit_scaling.data.sources import ImageSource, open_source
from dit_scaling.latents.encode import shard_indices, split_in_order
from dit_scaling.latents.imported import ImportedLatents
from dit_scaling.latents.manifest import ChannelSums, write_facts
from dit_scaling.latents.shards import LatentSample, write_shard

CHUNK = 256
"""Latents in memory at a time."""


def take_shard(
    settings: LatentsSettings,
    split: Literal["train", "held_out"],
    shard: int,
    imported: Path,
    vae_json: Path,
    output: Path,
    facts: Path,
    log_seconds: float = 10.0,
) -> None:
    """Write the latents of the images of shard ``shard`` of a split, which are those that `encode_shard` encodes.

    Args:
        settings: of this stage.
        split: which images.
        shard: 0-based.
        imported: record of the imported latents.
        vae_json: record of the autoencoder that they are of, which gives the scale.
        output: the shard (tar), see `shards`.
        facts: JSON of what the manifest needs to know of it.
        log_seconds: seconds between two lines of progress.

    Raises:
        UserError: the latents are not those of the study's images, or damaged, or a shard would be empty.
    """
    source, latents = open_source(settings.vae.data.data), ImportedLatents(imported)
    rows = latents.rows_of(source)
    indices = shard_indices(settings, split, shard, split_in_order(settings, source, split))
    sums = ChannelSums(latents.facts.channels, _scale(vae_json))
    samples = _samples(latents, rows, source, indices, sums)
    write_shard(output, track(samples, len(indices), f"{split} shard {shard}, latent", log_seconds))
    histogram = np.bincount(source.labels[indices], minlength=len(source.class_names))
    write_facts(facts, output, (split, shard), histogram, sums, settings, vae_json, latents.facts.origin)


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
