"""The reference stage: the real images' statistics, and the features of the sets that are the reference levels."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import sha256_file
from dit_scaling.config.stages import ReferenceSettings
from dit_scaling.data.reading_order import reading_order
from dit_scaling.data.sources import open_source, read_images
from dit_scaling.data.split import split_indices
from dit_scaling.latents.autoencoder import decode, open_vae
from dit_scaling.latents.vae_stage import BATCH as VAE_BATCH
from dit_scaling.latents.vae_stage import reconstruct
from dit_scaling.metrics.extraction import BATCH, chunks, protocol_of, see
from dit_scaling.metrics.extractors import open_extractor
from dit_scaling.metrics.features import Extractor
from dit_scaling.metrics.kept import KEPT_FEATURES, KeptFiles, ReferenceFiles, save_features, write_kept
from dit_scaling.metrics.moments import has_spatial_moments, load_moments, save_moments
from dit_scaling.sampling.archive import read_image_batches

log = logging.getLogger(__name__)


def make_reference(
    settings: ReferenceSettings,
    extractor: Path,
    vae_record: Path,
    given: Path | None,
    files: ReferenceFiles,
    levels: Sequence[Path],
    device: torch.device,
) -> None:
    """The reference stage: moments of the training images or of the ``given`` file, and what the levels are made of.

    ``levels`` are the records of features to write of ``LEVELS``, in their order: held-out real images, the VAE's
    reconstructions of them, decoded Gaussian noise.

    Raises:
        UserError: the given reference is missing, or of other features.
    """
    latents = settings.latents
    data, network = latents.vae.data, open_extractor(extractor, device)
    source = open_source(data.data)
    train, held_out = split_indices(len(source), data.data.held_out, data.seed)
    if given is None:
        first = np.arange(min(KEPT_FEATURES, len(train)))  # in random order
        seen = see(network, (read_images(source, some) for some in chunks(reading_order(source, train))), first)
        side = data.data.image_size
        save_moments(files.moments, seen.moments.named(network.name, side, network.resize), seen.spatial)
        save_features(files.features, seen.features)
    else:
        import_reference(given, network, files, data.data.image_size, len(train))
    vae = open_vae(vae_record).to(device)

    def reconstructions() -> Iterator[NDArray[np.uint8]]:
        for some in chunks(held_out):
            yield reconstruct(vae, read_images(source, some))

    def decoded_noise() -> Iterator[NDArray[np.uint8]]:
        rng = torch.Generator().manual_seed(data.seed)
        size = data.data.image_size // latents.vae.vae.downsampling
        shape = (latents.vae.vae.latent_channels, size, size)
        for start in range(0, settings.num_samples, BATCH):
            count = min(BATCH, settings.num_samples - start)
            yield decode(vae, torch.randn((count, *shape), generator=rng), VAE_BATCH, data.data.channels)

    sets = (
        ((read_images(source, some) for some in chunks(held_out)), source.labels[held_out]),
        (reconstructions(), source.labels[held_out]),
        (decoded_noise(), None),
    )
    for record, (batches, labels) in zip(levels, sets, strict=True):
        seen = see(network, batches)
        write_kept(KeptFiles.beside(record), seen, protocol_of(network), labels, network.logit_weights)
        log.info("%s: %s features of %d images", record, network.name, seen.moments.count)


def import_reference(
    given: Path, network: Extractor, files: ReferenceFiles, image_size: int, images: int | None = None
) -> None:
    """Take the statistics of a given npz as they are, and the features of its images where it has them as ``arr_0``.

    Args:
        given: the npz.
        network: the extractor whose features it is to be of.
        files: where the reference is kept, with what the npz says of itself.
        image_size: side of the study's images, in pixels.
        images: how many the study trains on; a reference of another number is no fault, but the report says so.

    Raises:
        UserError: the file is missing, no npz of moments, or says that it is of other features, of another resize or
            of images of another size.
    """
    moments = load_moments(given)
    if len(moments.mean) != network.dim:
        raise UserError(
            f"reference: {given} is of {len(moments.mean)} features, those of {network.name} are {network.dim}."
        )
    _require_same(given, "features", moments.features, network.name)
    _require_same(given, "resize", moments.resize, network.resize)
    _require_same(given, "image_size", moments.image_size, image_size)
    told = f"given: {moments.describe()}"
    if images is not None and moments.count not in (None, images):
        told += f"; the study trains on {images:,} images"
    log.info("reference: %s: %s", given, told)
    spatial = load_moments(given, spatial=True) if has_spatial_moments(given) else None
    taken = replace(moments, features=network.name, origin=sha256_file(given), told=told)
    save_moments(files.moments, taken, spatial)
    features = [np.empty((0, network.dim), np.float32)]
    for batch in read_image_batches(given, BATCH):
        _require_same(given, "image_size", batch.shape[1], image_size)
        features.append(network(batch).values)
    save_features(files.features, np.concatenate(features))


def _require_same(given: Path, what: str, stated: str | int | None, needed: str | int) -> None:
    """Raises UserError where a reference states another value than the study's; what it doesn't state is unknown."""
    if stated is not None and stated != needed:
        raise UserError(
            f"reference: {given} says {what} '{stated}', but the study's is '{needed}': a distance to it would stand "
            "under a wrong name. Give a reference made the same way, or none."
        )
