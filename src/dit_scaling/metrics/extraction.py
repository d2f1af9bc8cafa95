"""The features stage: one streaming pass of samples through an extractor, and what is kept of it."""

import logging
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dit_scaling.config.stages import FeatureSettings
from dit_scaling.latents.autoencoder import QUANTISER
from dit_scaling.metrics.extractors import open_extractor
from dit_scaling.metrics.features import Extractor
from dit_scaling.metrics.kept import KeptFiles, Protocol, Seen, write_kept
from dit_scaling.metrics.moments import RunningMoments
from dit_scaling.sampling.images import read_samples

BATCH = 250  # images that an extractor sees at a time

log = logging.getLogger(__name__)


def extract_features(
    settings: FeatureSettings, parts: list[Path], extractor: Path, output: Path, device: torch.device
) -> None:
    """The features stage: see the samples in ``parts`` once and keep what every metric may ask for beside ``output``.

    Raises:
        UserError: a part is missing or altered, or the extractor's weights are not those of its record.
    """
    network, labels = open_extractor(extractor, device), list[NDArray[np.int64]]()
    seen = see(network, _read_parts(parts, labels))
    facts = {"quantiser": QUANTISER, "settings_digest": settings.digest}
    write_kept(
        KeptFiles.beside(output), seen, protocol_of(network), np.concatenate(labels), network.logit_weights, **facts
    )
    log.info("%s: %s features of %d images", output, network.name, seen.moments.count)


def see(extractor: Extractor, batches: Iterable[NDArray[np.uint8]], keep: int | None = None) -> Seen:
    """Moments of all images (N, H, W, C), features of the first ``keep`` or of all; memory independent of N."""
    moments, spatial, classes = RunningMoments(extractor.dim), None, []
    with tempfile.TemporaryFile(prefix="dit-scaling-features-") as scratch:
        for images in batches:
            features = extractor(images)
            room = len(images) if keep is None else max(0, keep - moments.count)
            scratch.write(np.ascontiguousarray(features.values[:room], dtype=np.float32).tobytes())
            moments.update(features.values)
            if features.spatial is not None:
                spatial = spatial or RunningMoments(features.spatial.shape[1])
                spatial.update(features.spatial)
            if features.classes is not None:
                classes.append(features.classes)
        scratch.flush()
        # The mapping outlives the file's name and handle.
        rows = np.memmap(scratch, np.float32, mode="r").reshape(-1, extractor.dim)
    return Seen(moments, spatial, rows, np.concatenate(classes) if classes else None)


def protocol_of(network: Extractor) -> Protocol:
    """What a record says of the extractor."""
    return Protocol(network.name, network.description, network.resize, network.weights_sha256)


def _read_parts(parts: list[Path], labels: list[NDArray[np.int64]]) -> Iterator[NDArray[np.uint8]]:
    """The images of the parts, one part in memory at a time; appends each part's labels as it comes to it."""
    for part in parts:
        samples = read_samples(part)
        labels.append(samples.labels)
        yield from chunks(samples.images)


def chunks(rows: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """An array in pieces of BATCH rows."""
    for start in range(0, len(rows), BATCH):
        yield rows[start : start + BATCH]
