"""The 95% interval of each metric of one set of samples, and what varies in it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import scipy

from dit_scaling.metrics.blocks import choose_blocks
from dit_scaling.metrics.catalogue import Metric
from dit_scaling.metrics.comparison import Comparison
from dit_scaling.metrics.fid_infinity import half_width
from dit_scaling.metrics.inception_score import SPLITS

NORMAL = 1.96


@dataclass(frozen=True)
class Interval:
    """Low and high end, and how they came about."""

    low: float
    high: float
    how: str


Finder = Callable[[float, Mapping[str, float], Comparison], Interval | None]
"""Of a metric's value, what stands beside it by the name of the aside, and what was compared."""


def find_interval(metric: Metric, record: Mapping[str, Any], comparison: Comparison) -> Interval | None:
    """The interval of a metric's value in a record of `score.measure`; None where nothing measured gives one.

    It is of the samples' draw, the reference and the training run fixed, but where ``how`` says otherwise.
    """
    features = comparison.reference.extractor
    asides = {aside: float(record[metric.column_on(features, aside)]) for aside in metric.asides}
    find = FINDERS.get(metric.key)
    return find(float(record[metric.column_on(features)]), asides, comparison) if find else None


def _about(value: float, half: float, how: str) -> Interval:
    return Interval(value - half, value + half, how)


def _bootstrapped(value: float, asides: Mapping[str, float], comparison: Comparison) -> Interval:
    how = f"{comparison.scoring.bootstrap} bootstrap resamples of the samples"
    about = _about(value, NORMAL * asides["se"], how)
    return replace(about, low=max(0.0, about.low))  # no distance is below it


def _jackknifed(value: float, asides: Mapping[str, float], comparison: Comparison) -> Interval | None:
    blocks = choose_blocks(*comparison.samples.features.shape)
    return _about(value, half_width(asides["se"], blocks), f"jackknife over {blocks} blocks") if blocks else None


def _over_splits(value: float, asides: Mapping[str, float], _comparison: Comparison) -> Interval:
    error = asides["sd"] / (SPLITS - 1) ** 0.5  # of a mean, from a population standard deviation
    return _about(value, _student(SPLITS) * error, f"{SPLITS} splits of the samples")


def _over_subsets(value: float, asides: Mapping[str, float], comparison: Comparison) -> Interval | None:
    """Subsets overlap: as many count as the smaller set holds disjoint ones."""
    smaller = min(len(comparison.samples.features), len(comparison.reference.features))
    size = min(comparison.scoring.kid_subset_size, smaller)
    disjoint = min(smaller // size, comparison.scoring.kid_subsets)
    if disjoint < 2:
        return None
    how = f"spread over subsets, of which {disjoint} could be disjoint; both sets drawn"
    return _about(value, _student(disjoint) * asides["sd"] / (disjoint - 1) ** 0.5, how)


def _of_samples(value: float, _asides: Mapping[str, float], comparison: Comparison) -> Interval:
    return _share(value, len(comparison.samples.features), "samples")


def _of_reference(value: float, _asides: Mapping[str, float], comparison: Comparison) -> Interval:
    return _share(value, len(comparison.reference.features), "real images, the samples fixed")


def _share(value: float, count: int, what: str) -> Interval:
    """Wilson's interval of a share."""
    found = scipy.stats.binomtest(round(value * count), count).proportion_ci(method="wilson")
    return Interval(float(found.low), float(found.high), f"binomial over {count:,} {what}")


def _student(count: int) -> float:
    return float(scipy.stats.t.ppf(0.975, count - 1))


FINDERS: Mapping[str, Finder] = {
    "fd": _bootstrapped,
    "fd_infinity": _jackknifed,
    "inception_score": _over_splits,
    "kid": _over_subsets,
    "class_accuracy": _of_samples,
    "precision": _of_samples,
    "recall": _of_reference,
    "coverage": _of_reference,
}
"""By the metric's key; sFID, of whose features only moments are kept, and density, no share, have none."""
