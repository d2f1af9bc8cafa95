"""One estimate per variant, ln metric with its variance, and where the variance comes from.

Three sources, the first that the table allows:

1. Several seeds of at least one variant: the standard deviation of ln metric over seeds, pooled over variants, with
   sum(n_v - 1) degrees of freedom. It holds training and sampling noise, and assumes one relative scatter for all.
2. Standard errors of the metric (bootstrap of the generated images): by the delta method se(ln m) = se(m) / m. What
   another training seed would change is not in them and can be several times as large, so that source 3 is added.
3. The published spread between reproductions of one variant (``dit_scaling.paper.published``), an assumption.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from dit_scaling.claims.metrics_table import family_of
from dit_scaling.common.errors import UserError
from dit_scaling.paper.published import reproduction_spread

Group = tuple[str, pd.DataFrame]
"""A variant and its rows, one per seed."""


@dataclass(frozen=True)
class Estimate:
    """One variant: what it is, the mean of its ln metric over ``runs`` seeds, and that mean's ``variance``.

    ``ln_tokens`` is ln of the number of tokens, or -2 ln patch where the table has no tokens: equal up to a constant.
    ``patch`` and ``ln_tokens`` are None for models without patches.
    """

    variant: str
    family: str
    size: str
    patch: int | None
    params_m: float
    gflops: float
    ln_tokens: float | None
    ln_metric: float
    variance: float
    runs: int


@dataclass(frozen=True)
class Noise:
    """The scatter of one run: variance of ln metric, degrees of freedom (inf: taken as known), and its source."""

    variance: float
    df: float
    source: str


def estimate(table: pd.DataFrame, metric: str) -> tuple[list[Estimate], Noise]:
    """Estimates of the variants of a checked table, ordered by Gflops, with the noise they are judged by.

    Raises:
        UserError: standard errors are given for some variants only, or all seeds of every variant agree exactly.
    """
    ordered = table.sort_values(["gflops", "variant", metric])
    groups = [(str(variant), rows) for variant, rows in ordered.groupby("variant", sort=False)]
    variances, noise = _variances(groups, metric)
    estimates = [
        _describe(variant, rows.iloc[0], np.log(rows[metric].to_numpy(dtype=float)), variance)
        for (variant, rows), variance in zip(groups, variances, strict=True)
    ]
    return estimates, noise


def homogeneity_p(estimates: Sequence[Estimate], noise: Noise) -> float:
    """P-value of "all variants have one metric".

    F = sum w (x - mean)^2 / (k - 1) with w = 1 / variance and their weighted mean, on k - 1 and df degrees of freedom.
    """
    values = np.array([e.ln_metric for e in estimates])
    weights = 1 / np.array([e.variance for e in estimates])
    squares = float(np.sum(weights * (values - np.average(values, weights=weights)) ** 2))
    k = len(estimates)
    if math.isinf(noise.df):
        return float(stats.chi2.sf(squares, k - 1))
    return float(stats.f.sf(squares / (k - 1), k - 1, noise.df))


def _variances(groups: Sequence[Group], metric: str) -> tuple[list[float], Noise]:
    """Variance of each variant's mean, from the first source that the table allows."""
    return _from_seeds(groups, metric) or _from_standard_errors(groups, metric) or _from_reproductions(groups)


def _from_seeds(groups: Sequence[Group], metric: str) -> tuple[list[float], Noise] | None:
    logs = [np.log(rows[metric].to_numpy(dtype=float)) for _, rows in groups]
    df = sum(len(values) - 1 for values in logs)
    if df == 0:
        return None
    pooled = sum(float(np.sum((values - values.mean()) ** 2)) for values in logs) / df
    if pooled == 0:
        raise UserError(
            f"Column '{metric}' has exactly one value for all seeds of each variant: there is no noise to judge by. "
            f"Give each seed its own measurement, or one row per variant."
        )
    lone = sum(len(values) == 1 for values in logs)
    borrowed = f", also for the {lone} variants with one seed" if lone else ""
    source = f"spread over training seeds, {math.sqrt(pooled):.1%} pooled with {df} degrees of freedom{borrowed}"
    return [pooled / len(values) for values in logs], Noise(pooled, df, source)


def _from_standard_errors(groups: Sequence[Group], metric: str) -> tuple[list[float], Noise] | None:
    column = f"{metric}_se"
    if column not in groups[0][1].columns or all(rows[column].isna().all() for _, rows in groups):
        return None
    lacking = [variant for variant, rows in groups if rows[column].isna().any()]
    if lacking:
        raise UserError(f"Column '{column}' is empty for {', '.join(lacking)}. Fill it for all variants or none.")
    spread = reproduction_spread()
    variances = [float(rows[column].iloc[0] / rows[metric].iloc[0]) ** 2 + spread.sd**2 for _, rows in groups]
    source = (
        "standard errors of the table and what another training seed would change, assumed to be the published spread "
        f"between reproductions, {spread.sd:.1%} with {spread.df} degrees of freedom"
    )
    return variances, Noise(float(np.mean(variances)), spread.df, source)


def _from_reproductions(groups: Sequence[Group]) -> tuple[list[float], Noise]:
    spread = reproduction_spread()
    unsaid = "; n_samples alone do not tell it" if "n_samples" in groups[0][1].columns else ""
    source = (
        f"assumed, as the table has neither several seeds nor standard errors{unsaid}: the published spread between "
        f"reproductions of one variant, {spread.sd:.1%} with {spread.df} degrees of freedom"
    )
    return [spread.sd**2] * len(groups), Noise(spread.sd**2, spread.df, source)


def _describe(variant: str, row: "pd.Series[float]", ln_metrics: NDArray[np.float64], variance: float) -> Estimate:
    patch = None if math.isnan(row["patch"]) else int(row["patch"])
    ln_tokens = None if patch is None else -2 * math.log(patch)
    if "tokens" in row.index and not math.isnan(row["tokens"]):
        ln_tokens = math.log(row["tokens"])
    return Estimate(
        variant=variant,
        family=family_of(variant),
        size=str(row["size"]),
        patch=patch,
        params_m=float(row["params_m"]),
        gflops=float(row["gflops"]),
        ln_tokens=ln_tokens,
        ln_metric=float(ln_metrics.mean()),
        variance=variance,
        runs=len(ln_metrics),
    )
