"""Whether the other metrics of a table order the variants as the headline distance does.

All are measured on the same samples, most on the same features: agreement says that the verdicts do not hang on the
formula of one distance, and on one network only where a metric's name tells other features. The held-out loss, where
the table has it, needs no samples. Values of metrics where higher is better are taken with the opposite sign, so that
lower is better in every row and a positive rank correlation is agreement.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import permutations
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from dit_scaling.claims.metrics_table import at_common_step
from dit_scaling.claims.verdicts import Claim, ClaimsReport
from dit_scaling.common.words import count
from dit_scaling.losses.loss_names import HEADLINE as HELD_OUT_LOSS
from dit_scaling.metrics.catalogue import parse_column
from dit_scaling.variants import UNET, family_of, network_of, objective_of

MAX_PERMUTED = 8  # variants: 40,320 orders; beyond, Student's t is close enough

Agreement = Literal["agrees", "disagrees", "undecided"]


@dataclass(frozen=True)
class MetricAgreement:
    """One metric over the variants that are evidence for the claims.

    ``spearman`` is the rank correlation with the headline, ``p`` its one-sided p-value against no association, not
    corrected for the number of metrics. ``claimed_K`` of ``pairs_K`` judged pairs of claim K differ in the claimed
    direction. ``pearson_*`` correlate the metric with ln Gflops and ln params; negative is better with more. None where
    fewer than three variants or a constant metric leave it undefined.
    """

    metric: str
    higher_is_better: bool
    agreement: Agreement
    spearman: float | None
    p: float | None
    claimed_1: int
    pairs_1: int
    claimed_2: int
    pairs_2: int
    pearson_gflops: float | None
    pearson_params: float | None


@dataclass(frozen=True)
class AgreementReport:
    """All metrics of a table, the headline first, and one sentence on them."""

    sentence: str
    metrics: tuple[MetricAgreement, ...]

    def table(self) -> pd.DataFrame:
        """One row per metric, with the fields of ``MetricAgreement``."""
        return pd.DataFrame([asdict(metric) for metric in self.metrics])


def compare_metrics(table: pd.DataFrame, report: ClaimsReport) -> AgreementReport:
    """Set every metric of ``table`` beside the headline of ``report``.

    A metric agrees where its rank correlation with the headline is positive beyond chance (p < alpha), disagrees where
    it is negative beyond chance, and is undecided otherwise: with three variants nothing can be decided.

    Args:
        table: the rows that ``report`` was made from, of one guidance scale. Several seeds count by their mean, which
            is geometric for Frechet distances, as in the claims.
        report: the verdicts; its pairs are compared, and its excluded variants are left out. So are U-Nets of another
            objective than the variants that are judged, as losses compare within one only.
    """
    rows, _ = at_common_step(table)
    rows = rows[~rows["variant"].isin([exclusion.variant for exclusion in report.exclusions])]
    objectives = rows["variant"].map(objective_of)
    judged = objectives[rows["variant"].map(family_of).map(network_of) != UNET]
    if not judged.empty:
        rows = rows[objectives.isin(judged.unique())]
    others = [column for column in find_metrics(rows) if column != report.metric]
    others += [column for column in (HELD_OUT_LOSS,) if column in rows.columns and rows[column].notna().all()]
    columns = [report.metric, *others]
    grouped = rows.groupby("variant")
    values = pd.DataFrame({column: grouped[column].agg(partial(_mean, column)) for column in columns})
    measures = grouped[["gflops", "params_m"]].first().apply(np.log)
    signed = values * [-1.0 if higher_is_better(column) else 1.0 for column in columns]
    metrics = tuple(_compare(column, signed, measures, report) for column in columns)
    return AgreementReport(describe_agreement(metrics), metrics)


def find_metrics(table: pd.DataFrame) -> list[str]:
    """Columns of the catalogue's metrics that hold a value in every row."""
    return [
        str(column)
        for column in table.columns
        if (found := parse_column(str(column))) and not found.aside and table[column].notna().all()
    ]


def higher_is_better(column: str) -> bool:
    """Direction of a column of ``find_metrics``; any other is taken as a distance."""
    found = parse_column(column)
    return found is not None and found.metric.better == "higher"


def rank_test(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float, float] | None:
    """Spearman's rank correlation, and its one-sided p-values for a positive and for a negative association.

    Exact over all orders of up to ``MAX_PERMUTED`` values, by Student's t beyond. None with fewer than three values or
    a constant side.
    """
    first, second = stats.rankdata(x), stats.rankdata(y)
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    correlation = float(np.corrcoef(first, second)[0, 1])
    if len(first) > MAX_PERMUTED:
        above, below = (stats.spearmanr(first, second, alternative=side).pvalue for side in ("greater", "less"))
        return correlation, float(above), float(below)
    products = first[np.array(list(permutations(range(len(first)))))] @ second
    tolerance = 1e-9 * float(first @ second)
    observed = float(first @ second)
    return (
        correlation,
        float(np.mean(products >= observed - tolerance)),
        float(np.mean(products <= observed + tolerance)),
    )


def describe_agreement(metrics: Sequence[MetricAgreement]) -> str:
    """One sentence: which metrics order the variants as the first of ``metrics`` does."""
    headline, *others = [metric for metric in metrics if metric.metric != HELD_OUT_LOSS]
    losses = "".join(_describe_loss(metric, headline) for metric in metrics if metric.metric == HELD_OUT_LOSS)
    if not others:
        return f"The table has no metric beside {headline.metric}.{losses}"
    texts: dict[Agreement, str] = {
        "agrees": "order the variants as {} does beyond chance",
        "disagrees": "order the variants the other way beyond chance",
        "undecided": "cannot be told from an unrelated order",
    }
    parts = []
    for agreement, text in texts.items():
        members = [_describe(metric) for metric in others if metric.agreement == agreement]
        if members:
            parts.append(f"{', '.join(members)} {text.format(headline.metric)}")
    return (
        f"Of {count(len(others), 'other metric')} on the same samples, by rank correlation: {'; '.join(parts)}.{losses}"
    )


def _describe_loss(loss: MetricAgreement, headline: MetricAgreement) -> str:
    found = {
        "agrees": f"orders the variants as {headline.metric} does beyond chance",
        "disagrees": "orders the variants the other way beyond chance",
        "undecided": "cannot be told from an unrelated order",
    }[loss.agreement]
    return f" The loss on held-out images, which needs no samples, {found}: {_describe(loss)}."


def _describe(metric: MetricAgreement) -> str:
    return metric.metric if metric.spearman is None else f"{metric.metric} ({metric.spearman:+.2f})"


def _compare(column: str, signed: pd.DataFrame, measures: pd.DataFrame, report: ClaimsReport) -> MetricAgreement:
    test = rank_test(signed[column].to_numpy(), signed[report.metric].to_numpy())
    agreement: Agreement = "undecided"
    if test and min(test[1:]) < report.alpha:
        agreement = "agrees" if test[1] < test[2] else "disagrees"
    (claimed_1, pairs_1), (claimed_2, pairs_2) = (_count(signed[column], report[claim]) for claim in ("1", "2"))
    return MetricAgreement(
        metric=column,
        higher_is_better=higher_is_better(column),
        agreement=agreement,
        spearman=test[0] if test else None,
        p=test[1] if test else None,
        claimed_1=claimed_1,
        pairs_1=pairs_1,
        claimed_2=claimed_2,
        pairs_2=pairs_2,
        pearson_gflops=_pearson(measures["gflops"], signed[column]),
        pearson_params=_pearson(measures["params_m"], signed[column]),
    )


def _count(values: "pd.Series[float]", claim: Claim) -> tuple[int, int]:
    claimed = sum(bool(values[pair.favoured] < values[pair.other]) for pair in claim.comparisons)
    return claimed, len(claim.comparisons)


def _mean(column: str, values: "pd.Series[float]") -> float:
    found = parse_column(column)
    if found is not None and found.metric.mean == "geometric":
        return math.exp(float(np.log(values).mean()))
    return float(values.mean())


def _pearson(x: "pd.Series[float]", y: "pd.Series[float]") -> float | None:
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])
