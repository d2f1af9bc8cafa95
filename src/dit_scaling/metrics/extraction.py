"""The features stage: one streaming pass of samples through an extractor, and what is kept of it."""

import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dit_scaling.common.files import disk_faults_named
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

    def __init__(self, extractor: Extractor, kept: NDArray[np.int64] | None = None) -> None:
        """``kept``: numbers of the images whose features are kept, ascending from 0; None for all."""
        self._extractor, self._kept = extractor, kept
        self._moments = RunningMoments(extractor.dim)
        self._spatial: RunningMoments | None = None
        self._classes: list[NDArray[np.int64]] = []
        # The mapping of `seen` outlives the file's name and handle.
        self._scratch = tempfile.TemporaryFile(prefix="dit-scaling-features-")  # noqa: SIM115

    def add(self, images: NDArray[np.uint8]) -> None:
        """Look at a batch (N, H, W, C). Raises DiskError where there is no room for its features."""
        features = self._extractor(images)
        with _scratch_named():
            self._scratch.write(np.ascontiguousarray(self._of_kept(features.values), dtype=np.float32).tobytes())
        self._moments.update(features.values)
        if features.spatial is not None:
            self._spatial = self._spatial or RunningMoments(features.spatial.shape[1])
            self._spatial.update(features.spatial)
        if features.classes is not None:
            self._classes.append(features.classes)

    def _of_kept(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Those rows of a batch that are kept."""
        if self._kept is None:
            return features
        before = self._moments.count
        first, last = np.searchsorted(self._kept, (before, before + len(features)))
        return features[self._kept[first:last] - before]

    def seen(self) -> Seen:
        """What there was to see; nothing can be added after it."""
        with _scratch_named(), self._scratch as scratch:
            scratch.flush()
            rows = np.memmap(scratch, np.float32, mode="r").reshape(-1, self._extractor.dim)
        return Seen(self._moments, self._spatial, rows, np.concatenate(self._classes) if self._classes else None)


def _scratch_named() -> AbstractContextManager[None]:
    """Features wait in the folder of temporary files, which may be on another disk than the results; TMPDIR sets it."""
    return disk_faults_named(Path(tempfile.gettempdir()))


def see(extractor: Extractor, batches: Iterable[NDArray[np.uint8]], kept: NDArray[np.int64] | None = None) -> Seen:
    """Moments of all images (N, H, W, C), features of those numbered in ``kept`` or of all; memory independent of N."""
    sight = Sight(extractor, kept)
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
