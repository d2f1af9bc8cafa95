"""The reference stage: the training images' moments, and the lines between which distances are read."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dit_scaling.config.stages import LatentsSettings, ScoreSettings
from dit_scaling.data.sources import open_source, read_images
from dit_scaling.data.split import split_indices
from dit_scaling.files import atomic_path, write_json
from dit_scaling.latents.autoencoder import decode, encode_moments, open_vae
from dit_scaling.metrics.extractors import open_extractor
from dit_scaling.metrics.moments import save_moments
from dit_scaling.metrics.score import (
    BATCH,
    ReferenceFiles,
    chunks,
    headline_metric,
    metrics_of,
    read_reference,
    score_set,
)

log = logging.getLogger(__name__)


def make_reference(
    settings: ScoreSettings,
    latents: LatentsSettings,
    extractor: Path,
    vae_record: Path,
    files: ReferenceFiles,
    lines: Path,
    device: torch.device,
) -> None:
    """The reference stage: moments of the training images, and the lines between which FIDs are read.

    Floors: held-out real images, and the VAE's reconstructions of them. Ceiling: decoded Gaussian noise.
    """
    data, network = latents.vae.data, open_extractor(extractor, device)
    source = open_source(data.data)
    train, held_out = split_indices(len(source), data.data.held_out, data.seed)
    scored = score_set(network, (read_images(source, some) for some in chunks(train)))
    save_moments(files.moments, scored.moments, network.name)
    with atomic_path(files.features) as temporary, temporary.open("wb") as stream:
        np.save(stream, scored.features)
    reference = read_reference(files)
    vae = open_vae(vae_record).to(device)
    channels = data.data.channels

    def reconstructions() -> Iterator[NDArray[np.uint8]]:
        for some in chunks(held_out):
            mean, _ = np.split(encode_moments(vae, read_images(source, some)), 2, axis=1)
            yield decode(vae, torch.from_numpy(mean) * vae.config.scaling_factor, BATCH, channels)

    def decoded_noise() -> Iterator[NDArray[np.uint8]]:
        rng = torch.Generator().manual_seed(settings.seed)
        size = data.data.image_size // latents.vae.vae.downsampling
        shape = (latents.vae.vae.latent_channels, size, size)
        for start in range(0, settings.num_samples, BATCH):
            count = min(BATCH, settings.num_samples - start)
            yield decode(vae, torch.randn((count, *shape), generator=rng), BATCH, channels)

    held_out_images = (read_images(source, some) for some in chunks(held_out))
    labels = source.labels[held_out]
    records = {
        "held_out": metrics_of(settings, score_set(network, held_out_images), reference, labels),
        "reconstructions": metrics_of(settings, score_set(network, reconstructions()), reference, labels),
        "decoded_noise": metrics_of(settings, score_set(network, decoded_noise()), reference, None),
    }
    metric = headline_metric(network.name)
    write_json(
        lines,
        {"metric": metric, "extractor": network.description, "settings_digest": settings.digest, "lines": records},
    )
    for name, record in records.items():
        log.info("%s: %s %.2f on %d images", name, metric, record[metric], record["n_samples"])
