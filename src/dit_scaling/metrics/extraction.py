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


class Sight:
    """What one extractor sees in a stream of images: memory independent of their number."""

    def __init__(self, extractor: Extractor, keep: int | None = None) -> None:
        """``keep``: of how many images the features are kept; None for all."""
        self._extractor, self._keep = extractor, keep
        self._moments = RunningMoments(extractor.dim)
        self._spatial: RunningMoments | None = None
        self._classes: list[NDArray[np.int64]] = []
        # The mapping of `seen` outlives the file's name and handle.
        self._scratch = tempfile.TemporaryFile(prefix="dit-scaling-features-")  # noqa: SIM115

    def add(self, images: NDArray[np.uint8]) -> None:
        """Look at a batch (N, H, W, C)."""
        features = self._extractor(images)
        room = len(images) if self._keep is None else max(0, self._keep - self._moments.count)
        self._scratch.write(np.ascontiguousarray(features.values[:room], dtype=np.float32).tobytes())
        self._moments.update(features.values)
        if features.spatial is not None:
            self._spatial = self._spatial or RunningMoments(features.spatial.shape[1])
            self._spatial.update(features.spatial)
        if features.classes is not None:
            self._classes.append(features.classes)

    def seen(self) -> Seen:
        """What there was to see; nothing can be added after it."""
        with self._scratch as scratch:
            scratch.flush()
            rows = np.memmap(scratch, np.float32, mode="r").reshape(-1, self._extractor.dim)
        return Seen(self._moments, self._spatial, rows, np.concatenate(self._classes) if self._classes else None)


def see(extractor: Extractor, batches: Iterable[NDArray[np.uint8]], keep: int | None = None) -> Seen:
    """Moments of all images (N, H, W, C), features of the first ``keep`` or of all; memory independent of N."""
    sight = Sight(extractor, keep)
    for images in batches:
        sight.add(images)
    return sight.seen()


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
