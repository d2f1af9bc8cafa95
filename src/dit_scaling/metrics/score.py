"""Scoring sets of images: one streaming pass through an extractor, then every metric on its features."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dit_scaling.config.stages import ScoreSettings
from dit_scaling.errors import UserError
from dit_scaling.files import write_json
from dit_scaling.metrics.bootstrap import bootstrap_frechet
from dit_scaling.metrics.distances import frechet_distance, kernel_distance
from dit_scaling.metrics.extractors import Extractor, open_extractor
from dit_scaling.metrics.moments import RunningMoments, load_moments
from dit_scaling.metrics.scores import precision_recall
from dit_scaling.sampling.images import read_samples

BATCH = 250
KEPT_FEATURES = 10_000  # images whose features precision, recall and KID use; ADM's reference batch has as many

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScoredSet:
    """Features of one set of images, with what is needed of them afterwards."""

    moments: RunningMoments
    features: NDArray[np.float32]
    """(min(N, KEPT_FEATURES), D)."""
    classes: NDArray[np.int64] | None
    """(N,) predicted labels; None where the extractor is no classifier of the study's labels."""


def score_set(extractor: Extractor, batches: Iterable[NDArray[np.uint8]]) -> ScoredSet:
    """Moments of all images (N, H, W, C), features of the first KEPT_FEATURES of them; memory independent of N."""
    moments, kept, classes = RunningMoments(extractor.dim), [], []
    for images in batches:
        features = extractor(images)
        room = KEPT_FEATURES - moments.count
        moments.update(features.values)
        if room > 0:
            kept.append(features.values[:room])
        if features.classes is not None:
            classes.append(features.classes)
    return ScoredSet(moments, np.concatenate(kept), np.concatenate(classes) if classes else None)


@dataclass(frozen=True)
class Reference:
    """The training images as the metrics see them."""

    extractor: str
    mu: NDArray[np.float64]
    sigma: NDArray[np.float64]
    features: NDArray[np.float32]


@dataclass(frozen=True)
class ReferenceFiles:
    """Where a reference is kept: moments of all training images, features of some."""

    moments: Path
    features: Path


def read_reference(files: ReferenceFiles) -> Reference:
    """Read a reference.

    Raises:
        UserError: a file is missing or not what it should be.
    """
    moments = load_moments(files.moments)
    if moments.features is None:
        raise UserError(f"{files.moments} does not name its features; rerun rule reference.")
    try:
        features = np.load(files.features, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{files.features} cannot be read ({error}); rerun rule reference.") from None
    return Reference(moments.features, moments.mean, moments.covariance, features)


def metrics_of(
    settings: ScoreSettings, scored: ScoredSet, reference: Reference, labels: NDArray[np.int64] | None
) -> dict[str, Any]:
    """Every metric of one set of images, each under the name of its features.

    ``fd_NAME`` Frechet distance (``fid`` for Inception features) with ``_se`` and ``_bias`` of the bootstrap over
    images, ``kid_NAME`` with ``_sd`` over its subsets, ``precision_NAME`` and ``recall_NAME``, and
    ``class_accuracy_NAME``: the share of images that the classifier gives the label they were made for.
    """
    name = reference.extractor
    headline = headline_metric(name)
    moments = scored.moments
    bootstrap = bootstrap_frechet(
        scored.features, reference.mu, reference.sigma, resamples=settings.bootstrap, seed=settings.seed
    )
    subset = min(settings.kid_subset_size, len(scored.features), len(reference.features))
    kid = kernel_distance(
        reference.features, scored.features, subsets=settings.kid_subsets, subset_size=subset, seed=settings.seed
    )
    manifolds = precision_recall(reference.features, scored.features, k=settings.neighbours)
    record = {
        "n_samples": moments.count,
        headline: frechet_distance(moments.mean, moments.covariance, reference.mu, reference.sigma),
        # The spread falls as 1/sqrt(N): where only a part of the images was resampled, scale to all of them.
        f"{headline}_se": bootstrap.standard_error * (len(scored.features) / moments.count) ** 0.5,
        f"{headline}_bias": bootstrap.bias,
        f"kid_{name}": kid.mean,
        f"kid_{name}_sd": kid.std,
        f"precision_{name}": manifolds.precision,
        f"recall_{name}": manifolds.recall,
    }
    if scored.classes is not None and labels is not None:
        record[f"class_accuracy_{name}"] = float((scored.classes == labels).mean())
    return record


def headline_metric(extractor: str) -> str:
    """Column of the Frechet distance: only Inception features make it a FID."""
    return "fid" if extractor == "inception" else f"fd_{extractor}"


def score_samples(
    settings: ScoreSettings,
    parts: list[Path],
    extractor: Path,
    reference: ReferenceFiles,
    output: Path,
    device: torch.device,
) -> None:
    """The fid stage: score the samples in ``parts`` against the reference and write one JSON record.

    Raises:
        UserError: a part is missing or altered, or the reference was made with another extractor.
    """
    network, known = open_extractor(extractor, device), read_reference(reference)
    if network.name != known.extractor:
        raise UserError(
            f"{reference.moments} was made with {known.extractor}, not {network.name}; rerun rule reference."
        )
    samples = [read_samples(part) for part in parts]
    labels = np.concatenate([part.labels for part in samples])
    batches = (images for part in samples for images in chunks(part.images))
    record = metrics_of(settings, score_set(network, batches), known, labels)
    log.info("%s: %s %.2f", output, headline_metric(network.name), record[headline_metric(network.name)])
    write_json(output, {**record, "extractor": network.description, "settings_digest": settings.digest})


def chunks(rows: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """An array in pieces of BATCH rows."""
    for start in range(0, len(rows), BATCH):
        yield rows[start : start + BATCH]
