"""The metrics: one row each. Names of columns are built and taken apart here and nowhere else.

A new metric is a file with its function and a `Measure`, and a row here; record, table, agreement, report and plan walk
the rows. Nothing here or below imports torch.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from dit_scaling.metrics.class_accuracy import CLASS_ACCURACY
from dit_scaling.metrics.comparison import Measure
from dit_scaling.metrics.density_coverage import DENSITY_COVERAGE
from dit_scaling.metrics.fid import FRECHET, SPATIAL_FRECHET
from dit_scaling.metrics.fid_infinity import FRECHET_AT_INFINITY
from dit_scaling.metrics.inception_score import INCEPTION_SCORE
from dit_scaling.metrics.kernel import KERNEL
from dit_scaling.metrics.precision_recall import PRECISION_RECALL

ASIDES = {"se": "the standard error of one", "bias": "the bias of one", "sd": "the standard deviation of one"}
"""What may stand beside a metric, in words."""
INCEPTION = "inception"
"""Name of the features that most metrics were named on."""


@dataclass(frozen=True)
class Metric:
    """One metric: how it is called, read and measured."""

    key: str
    label: str
    """For people."""
    unit: str
    better: Literal["lower", "higher"]
    column: str
    """Of the table; ``{features}`` stands for the name of the features, where several can give it."""
    measure: Measure
    asides: tuple[str, ...] = ()
    """What stands beside it, as ``COLUMN_ASIDE``; keys of ``ASIDES``."""
    mean: Literal["arithmetic", "geometric"] = "arithmetic"
    """Over seeds: geometric for what is compared by ratios."""
    of_inception: bool = False
    """Whether the label alone means Inception's features, so that others have to be named."""
    names: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Features on which it has another name: column and label."""

    @property
    def on_any(self) -> bool:
        """Whether features of any extractor may give it."""
        return "{features}" in self.column

    def column_on(self, features: str, aside: str = "") -> str:
        """Its column for these features, or that of what stands beside it."""
        name = self.names[features][0] if features in self.names else self.column.format(features=features)
        return f"{name}_{aside}" if aside else name

    def label_on(self, features: str) -> str:
        """Its label, on features of that name."""
        return self.names[features][1] if features in self.names else self.label


METRICS: tuple[Metric, ...] = (
    Metric(
        key="fd",
        label="Frechet distance",
        unit="squared unit of the features",
        better="lower",
        column="fd_{features}",
        measure=FRECHET,
        asides=("se", "bias"),
        mean="geometric",
        of_inception=True,
        names={INCEPTION: ("fid", "FID"), "clean": ("clean_fid", "clean-FID")},
    ),
    Metric(
        key="fd_infinity",
        label="Frechet distance at infinitely many samples",
        unit="squared unit of the features",
        better="lower",
        column="fdinf_{features}",
        measure=FRECHET_AT_INFINITY,
        asides=("se",),
        of_inception=True,
        names={INCEPTION: ("fidinf", "FID∞"), "clean": ("clean_fidinf", "clean-FID∞")},
    ),
    Metric(
        key="sfid",
        label="sFID",
        unit="squared unit of the features",
        better="lower",
        column="sfid",
        measure=SPATIAL_FRECHET,
        mean="geometric",
    ),
    Metric(
        key="inception_score",
        label="Inception score",
        unit="classes",
        better="higher",
        column="inception_score",
        measure=INCEPTION_SCORE,
        asides=("sd",),
    ),
    Metric(
        key="kid",
        label="KID",
        unit="squared discrepancy",
        better="lower",
        column="kid_{features}",
        measure=KERNEL,
        asides=("sd",),
        of_inception=True,
    ),
    Metric(
        key="class_accuracy",
        label="class accuracy",
        unit="share of samples",
        better="higher",
        column="class_accuracy_{features}",
        measure=CLASS_ACCURACY,
    ),
    Metric(
        key="precision",
        label="precision",
        unit="share of samples",
        better="higher",
        column="precision_{features}",
        measure=PRECISION_RECALL,
    ),
    Metric(
        key="recall",
        label="recall",
        unit="share of real images",
        better="higher",
        column="recall_{features}",
        measure=PRECISION_RECALL,
    ),
    Metric(
        key="density",
        label="density",
        unit="balls of real images a sample lies in, over those expected",
        better="higher",
        column="density_{features}",
        measure=DENSITY_COVERAGE,
    ),
    Metric(
        key="coverage",
        label="coverage",
        unit="share of real images",
        better="higher",
        column="coverage_{features}",
        measure=DENSITY_COVERAGE,
    ),
)
"""Every metric that is measured, in the order in which tables show them; the first is the headline."""

HEADLINE = METRICS[0]


@dataclass(frozen=True)
class MetricColumn:
    """A column of the table of metrics, taken apart."""

    metric: Metric
    features: str
    """Name of the features that it was measured on."""
    aside: str
    """What it says of the metric's value; empty for the value itself."""


def metric(key: str) -> Metric:
    """The metric of that key."""
    return next(row for row in METRICS if row.key == key)


def metric_keys() -> tuple[str, ...]:
    """Keys of all metrics: what a record of metrics was measured by."""
    return tuple(row.key for row in METRICS)


def parse_column(name: str) -> MetricColumn | None:
    """What a column holds; None where it is no metric's.

    A FID may be named with its number of images or by its origin: ``fid50k``, ``fid_theirs``.
    """
    asides = {aside for row in METRICS for aside in row.asides}
    match = re.fullmatch(rf"(.+?)(?:_({'|'.join(sorted(asides))}))?", name)
    if match is None:
        return None
    stem, aside = match[1], match[2] or ""
    for row in METRICS:
        features = _features_of(row, stem)
        if features is not None:
            return MetricColumn(row, features, aside)
    return None


def no_distance(name: str) -> str:
    """Why values of a column are not judged by their logarithms, lower being better; empty where they may be.

    A name that the catalogue does not know is taken for a distance.
    """
    column = parse_column(name)
    if column is not None and column.aside:
        return f"{ASIDES[column.aside]}, and no metric"
    row = column.metric if column else next((row for row in METRICS if name in (row.key, row.label.lower())), None)
    return f"{row.label}, where higher is better" if row is not None and row.better == "higher" else ""


def _features_of(row: Metric, stem: str) -> str | None:
    """The features in the name of a metric's column; None where it is not this metric's."""
    for features, (column, _) in row.names.items():
        if re.fullmatch(rf"{column}(\d.*|_.+)?", stem):
            return features
    if not row.on_any:
        return INCEPTION if stem == row.column else None
    match = re.fullmatch(re.escape(row.column).replace(r"\{features\}", "(.+)"), stem)
    return match[1] if match else None
