"""Samples of any model through the study's metrics: `dit-scaling score`."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import require_writable, write_json
from dit_scaling.common.progress import track
from dit_scaling.common.provenance import git_commit
from dit_scaling.common.words import count
from dit_scaling.config.stages import Scoring
from dit_scaling.metrics import catalogue
from dit_scaling.metrics.blocks import fewest_images
from dit_scaling.metrics.classifier import ClassifierFeatures
from dit_scaling.metrics.comparability import hindrances, of_order
from dit_scaling.metrics.comparison import Comparison, ImageSet, Need
from dit_scaling.metrics.extraction import BATCH, Sight, protocol_of
from dit_scaling.metrics.features import Extractor
from dit_scaling.metrics.given_reference import GivenReference, check_given, of_running, read_given, without_reference
from dit_scaling.metrics.inception_score import SPLITS
from dit_scaling.metrics.intervals import find_interval
from dit_scaling.metrics.kept import Seen
from dit_scaling.metrics.loose_images import LooseImages, counting_copies, open_images
from dit_scaling.metrics.score import describe_protocol, measure
from dit_scaling.metrics.self_check import check_distances
from dit_scaling.metrics.wanted_networks import Absent, open_networks

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """What to score, by what, and how."""

    images: Path
    reference: Path
    features: tuple[str, ...]
    """Kinds of `wanted_networks.WEIGHTS`, or records of a study's extractors."""
    cache: Path
    """Where the networks' weights are, or are fetched to."""
    device: torch.device
    scoring: Scoring
    fetch: bool = True
    """Whether weights that are missing are fetched."""


@dataclass(frozen=True)
class Figure:
    """A metric of the samples."""

    metric: str
    """Its column."""
    label: str
    features: str
    value: float
    low: float | None
    high: float | None
    interval: str
    """How the 95% interval came about, or that there is none."""


def score_images(asked: Asked, output: Path | None = None) -> dict[str, Any]:
    """Measure every metric of the catalogue that the networks and the reference allow.

    The samples are streamed once, a batch of 250 in memory at a time; of their features those of all networks are kept
    in temporary files.

    Returns:
        The record, which is also written to ``output``: figures, absent, incomparable, and what they were measured by.

    Raises:
        UserError: the self-check failed, an input cannot be read, ``output`` cannot be written, there are fewer than
            10 images, or no network is left that the reference is of.
    """
    checked = check_distances()
    samples = open_images(asked.images)
    if samples.count < SPLITS:
        raise UserError(f"{asked.images} holds {count(samples.count, 'image')}; {SPLITS} are needed at least.")
    check_given(asked.reference)
    if output is not None:
        require_writable(output)
    networks, absent = open_networks(asked.features, asked.cache, asked.device, fetch=asked.fetch)
    lacking = without_reference(asked.reference, networks)
    absent += [
        Absent(name, why, "give a reference of images, or one of these features") for name, why in lacking.items()
    ]
    networks = [network for network in networks if network.name not in lacking]
    if not networks:
        raise UserError(f"{asked.reference} is of none of the features: {_sentence(absent)}")
    seen = see_all(networks, counting_copies(samples, samples.batches(BATCH)), samples)
    height, width = next(iter(samples.sizes))
    reference = read_given(asked.reference, networks, see_all, height if height == width else None)
    figures: list[Figure] = []
    sorted_samples: list[str] = []
    protocol: dict[str, str] = {}
    for network in networks:
        comparison = _compare(asked.scoring, network, seen[network.name], reference)
        log.info("measuring on %s", network.name)
        figures += _figures(comparison)
        absent += _absent_of(comparison)
        sorted_samples += of_order(comparison)
        protocol |= describe_protocol(protocol_of(network), comparison.reference)
    record = {
        "images": _facts(samples),
        "reference": {"path": str(asked.reference), "sha256": reference.sha256, "told": _told(reference)},
        "figures": [asdict(figure) for figure in figures],
        "absent": [asdict(one) for one in absent],
        "incomparable": [*hindrances(samples, reference, networks), *sorted_samples],
        "protocol": protocol,
        "scoring": asked.scoring.stored(),
        "self_check": checked,
        "git_commit": git_commit(),
    }
    if output is not None:
        write_json(output, record)
    return record


def see_all(
    networks: Sequence[Extractor],
    batches: Iterator[NDArray[np.uint8]],
    images: LooseImages,
    kept: NDArray[np.int64] | None = None,
) -> Mapping[str, Seen]:
    """Show every batch to every network; each batch is read once."""
    sights = {network.name: Sight(network, kept) for network in networks}
    total = -(-images.count // BATCH)
    for batch in track(batches, total, f"{images.path}: batches of {BATCH} images"):
        for network in networks:
            sights[network.name].add(_with_channels_of(network, batch))
    return {name: sight.seen() for name, sight in sights.items()}


def _with_channels_of(network: Extractor, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey images with one channel, where the network is a study's of grey images."""
    if not isinstance(network, ClassifierFeatures) or network.channels == 3:
        return images
    if not (images == images[..., :1]).all():
        raise UserError(f"the images are coloured, and {network.name} is the network of a study of grey ones.")
    return images[..., :1]


def _compare(scoring: Scoring, network: Extractor, seen: Seen, reference: GivenReference) -> Comparison:
    moments = of_running(seen.moments, network.name)
    spatial = of_running(seen.spatial, network.name) if seen.spatial else None
    samples = ImageSet(moments, spatial, seen.features, seen.classes, None, network.logit_weights)
    return Comparison(scoring, samples, reference.by_name[network.name])


def _figures(comparison: Comparison) -> Iterator[Figure]:
    name = comparison.reference.extractor
    record = measure(comparison.scoring, comparison.samples, comparison.reference)
    for metric in catalogue.METRICS:
        column = metric.column_on(name)
        if column in record:
            interval = find_interval(metric, record, comparison)
            yield Figure(
                metric=column,
                label=metric.label_on(name),
                features=name,
                value=float(record[column]),
                low=interval.low if interval else None,
                high=interval.high if interval else None,
                interval=interval.how if interval else "no interval",
            )


def _absent_of(comparison: Comparison) -> Iterator[Absent]:
    """The metrics that these features could give, and what they lack."""
    name = comparison.reference.extractor
    for metric in catalogue.METRICS:
        lacks = [need for need in sorted(metric.measure.needs) if not comparison.has(need)]
        for need in lacks:
            if reason := _why(need, comparison):
                yield Absent(metric.column_on(name), *reason)
                break


def _why(need: Need, comparison: Comparison) -> tuple[str, str] | None:
    """Why something is lacking and what would help; None where these features never have it."""
    samples, reference = comparison.samples, comparison.reference
    if need == "reference images" and (real := len(reference.features)):
        remedy = f"give {comparison.scoring.neighbours + 1} at least, and thousands to mean much"
        return f"the reference holds {count(real, 'image')} only", remedy
    if need == "reference images":
        return "the reference holds statistics only", "give images, or an npz that also has them (arr_0)"
    if need == "spatial features" and samples.spatial is not None:
        return "the reference has no moments of spatial features (mu_s, sigma_s)", "give images, or ADM's npz"
    if need == "images to extrapolate":
        fewest = fewest_images(len(reference.moments.mean))
        return f"{len(samples.features):,} samples are too few to extrapolate from", f"give {fewest:,} or more"
    if need == "classes" and samples.classes is not None:
        return "the labels that the samples were made for are not known", "score them within their study"
    return None


def _facts(samples: LooseImages) -> dict[str, Any]:
    return {
        "path": str(samples.path),
        "count": samples.count,
        "formats": dict(samples.formats),
        "sizes": {f"{width} x {height}": count for (height, width), count in samples.sizes.items()},
    }


def _told(reference: GivenReference) -> dict[str, str]:
    return {name: found.moments.describe() for name, found in reference.by_name.items()}


def _sentence(absent: Sequence[Absent]) -> str:
    return "; ".join(f"{one.name}: {one.reason} ({one.remedy})" for one in absent)


def describe_score(record: Mapping[str, Any]) -> list[str]:
    """The record in lines for people: a metric each, then what is absent and what keeps it from being compared."""
    width = max(len(figure["metric"]) for figure in record["figures"])
    lines = [f"{record['images']['count']:,} images of {record['images']['path']}"]
    for figure in record["figures"]:
        interval = "" if figure["low"] is None else f"95% {figure['low']:.4g} to {figure['high']:.4g}; "
        lines.append(f"  {figure['metric']:<{width}}  {figure['value']:<9.4g} ({interval}{figure['interval']})")
    lines += [f"Absent: {one['name']}: {one['reason']}; {one['remedy']}." for one in record["absent"]]
    return lines + [f"Not comparable: {reason}" for reason in record["incomparable"]]
