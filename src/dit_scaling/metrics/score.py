"""Scoring sets of images: one streaming pass through an extractor, then every metric on its features."""

import logging
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import sha256_file, write_json
from dit_scaling.config.stages import ScoreSettings, Scoring
from dit_scaling.latents.autoencoder import QUANTISER
from dit_scaling.metrics.bootstrap import bootstrap_frechet
from dit_scaling.metrics.distances import frechet_distance, kernel_distance
from dit_scaling.metrics.extractors import open_extractor
from dit_scaling.metrics.features import Extractor
from dit_scaling.metrics.moments import Moments, RunningMoments, has_spatial_moments, load_moments
from dit_scaling.metrics.scores import inception_score_of_features, precision_recall
from dit_scaling.sampling.images import read_samples

BATCH = 250
KEPT_FEATURES = 10_000  # real images whose features precision, recall and KID use, as many as in ADM's reference batch
INCEPTION_SPLITS = 10

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScoredSet:
    """Features of one set of images, with what is needed of them afterwards."""

    moments: RunningMoments
    spatial: RunningMoments | None
    """Of the features behind sFID; None where the extractor has none."""
    features: NDArray[np.float32]
    """(N, D) or fewer, mapped from a scratch file: no memory of its own."""
    classes: NDArray[np.int64] | None
    """(N,) predicted labels; None where the extractor is no classifier of the study's labels."""


def score_set(extractor: Extractor, batches: Iterable[NDArray[np.uint8]], keep: int | None = None) -> ScoredSet:
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
    return ScoredSet(moments, spatial, rows, np.concatenate(classes) if classes else None)


@dataclass(frozen=True)
class Reference:
    """The real images as the metrics see them."""

    extractor: str
    moments: Moments
    spatial: Moments | None
    """Behind sFID; None where the extractor or the given statistics have none."""
    features: NDArray[np.float32]
    """(R, D) of some of them; R is 0 where only statistics are given."""
    sha256: str
    """Of the given file, or of the moments computed here."""


@dataclass(frozen=True)
class ReferenceFiles:
    """Where a reference is kept: moments of all real images, features of some."""

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
    spatial = load_moments(files.moments, spatial=True) if has_spatial_moments(files.moments) else None
    try:
        features = np.load(files.features, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{files.features} cannot be read ({error}); rerun rule reference.") from None
    if not isinstance(features, np.ndarray) or features.shape[1:] != moments.mean.shape:
        raise UserError(f"{files.features} holds other features than {files.moments}; rerun rule reference.")
    return Reference(moments.features, moments, spatial, features, moments.origin or sha256_file(files.moments))


def metrics_of(
    settings: Scoring, network: Extractor, scored: ScoredSet, reference: Reference, labels: NDArray[np.int64] | None
) -> dict[str, Any]:
    """Every metric of one set of images, each under the name of its features.

    ``fd_NAME`` Frechet distance (``fid`` and ``clean_fid`` for Inception features) with ``_se`` and ``_bias`` of the
    bootstrap over images; ``kid_NAME`` with ``_sd`` over its subsets, ``precision_NAME`` and ``recall_NAME``, where
    the reference has images; ``sfid``; ``inception_score`` with ``_sd`` over its splits; ``class_accuracy_NAME``: the
    share of images that the classifier gives the label they were made for.
    """
    name, headline = network.name, headline_metric(network.name)
    moments, known = scored.moments, reference.moments
    some = np.asarray(scored.features[:KEPT_FEATURES])
    bootstrap = bootstrap_frechet(some, known.mean, known.covariance, resamples=settings.bootstrap, seed=settings.seed)
    record = {
        "n_samples": moments.count,
        headline: frechet_distance(moments.mean, moments.covariance, known.mean, known.covariance),
        # The spread falls as 1/sqrt(N), the bias as 1/N: where only a part was resampled, scale to all images.
        f"{headline}_se": bootstrap.standard_error * (len(some) / moments.count) ** 0.5,
        f"{headline}_bias": bootstrap.bias * len(some) / moments.count,
    }
    if len(reference.features):
        record |= _metrics_on_images(settings, name, scored.features, reference.features)
    if scored.spatial is not None and reference.spatial is not None:
        record["sfid"] = frechet_distance(
            scored.spatial.mean, scored.spatial.covariance, reference.spatial.mean, reference.spatial.covariance
        )
    if network.logit_weights is not None:
        score = inception_score_of_features(
            scored.features, network.logit_weights, min(INCEPTION_SPLITS, len(scored.features))
        )
        record |= {"inception_score": score.mean, "inception_score_sd": score.std}
    if scored.classes is not None and labels is not None:
        record[f"class_accuracy_{name}"] = float((scored.classes == labels).mean())
    return record


def _metrics_on_images(
    settings: Scoring, name: str, features: NDArray[np.float32], real: NDArray[np.float32]
) -> dict[str, float]:
    """The metrics that compare images with images, not moments."""
    kid = kernel_distance(
        real,
        features,
        subsets=settings.kid_subsets,
        subset_size=min(settings.kid_subset_size, len(features), len(real)),
        seed=settings.seed,
    )
    manifolds = precision_recall(real, features, k=settings.neighbours)
    return {
        f"kid_{name}": kid.mean,
        f"kid_{name}_sd": kid.std,
        f"precision_{name}": manifolds.precision,
        f"recall_{name}": manifolds.recall,
    }


def headline_metric(extractor: str) -> str:
    """Column of the Frechet distance: only Inception features make it a FID, and only ADM's resizing the FID."""
    return {"inception": "fid", "clean": "clean_fid"}.get(extractor, f"fd_{extractor}")


def protocol_of(network: Extractor, reference: Reference) -> dict[str, str]:
    """What a number is worth nothing without: network, weights, resize and reference, as columns of the table."""
    return {
        f"extractor_{network.name}": network.description,
        f"weights_sha256_{network.name}": network.weights_sha256,
        f"resize_{network.name}": network.resize,
        f"reference_sha256_{network.name}": reference.sha256,
    }


def score_samples(
    settings: ScoreSettings,
    parts: list[Path],
    extractors: list[Path],
    references: list[ReferenceFiles],
    output: Path,
    device: torch.device,
) -> None:
    """The fid stage: score the samples in ``parts`` by every extractor, the headline's first; write one JSON record.

    Raises:
        UserError: a part is missing or altered, or a reference was made with another extractor.
    """
    record: dict[str, Any] = {"quantiser": QUANTISER, "settings_digest": settings.digest}
    for extractor, files in zip(extractors, references, strict=True):
        network, reference = open_extractor(extractor, device), read_reference(files)
        if network.name != reference.extractor:
            raise UserError(
                f"{files.moments} was made with {reference.extractor}, not {network.name}; rerun rule reference."
            )
        labels: list[NDArray[np.int64]] = []
        scored = score_set(network, _read_parts(parts, labels))
        record |= metrics_of(settings.scoring, network, scored, reference, np.concatenate(labels))
        record |= protocol_of(network, reference)
        record.setdefault("extractor", network.description)
        metric = headline_metric(network.name)
        log.info("%s: %s %.2f", output, metric, record[metric])
    write_json(output, record)


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
