"""One estimate per variant, ln metric with its variance, and where the variance comes from.

What is known of the scatter between training runs decides the rule, from the most to the least:

1. **own**: each variant by the spread of its own seeds, tested by Welch's t. A variant with one seed, or with seeds
   that agree exactly, is taken to scatter as the noisiest other one or as published reproductions do, whichever is
   more, and verdicts name that as a condition.
2. **pooled**: one spread for all, with sum(n_v - 1) degrees of freedom, only where no variant has ``ENOUGH_SEEDS`` and
   Bartlett's test of equal variances is far from rejecting (p >= ``EQUAL_VARIANCES``): such few seeds miss much of what
   is unequal. Verdicts name it as a condition.
3. **assumed**: with one seed, or fewer than ``MIN_DF`` degrees of freedom over all seeds, the published spread between
   reproductions of one variant (``dit_scaling.paper.published``), and never less than the seeds show. Verdicts name it
   as a condition.

Standard errors of the table (bootstrap of the generated images, by the delta method se(ln m) = se(m) / m) are a floor
of the variance of a run under 1 and 2, whose scatter holds them already, and are added under 3.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from dit_scaling.common.errors import UserError
from dit_scaling.paper.published import Spread, reproduction_spread
from dit_scaling.variants import family_of

MIN_DF = 4
"""Fewest degrees of freedom on which a spread of seeds decides alone: with fewer it is wrong by half too often."""
EQUAL_VARIANCES = 0.25
"""Least p-value of Bartlett's test at which variances are pooled. High, as with two or three seeds it misses much."""
ENOUGH_SEEDS = 4
"""From so many seeds of a variant on variances are never pooled: pairs have 3 to 6 degrees of freedom by themselves."""

Rule = Literal["own", "pooled", "assumed"]


@dataclass(frozen=True)
class Estimate:
    """One variant: what it is, and the mean of its ln metric over ``runs`` seeds.

    ``variance`` is that of the mean, on ``df`` degrees of freedom, and ``assumed`` the one by published reproductions.
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
    df: float
    assumed: float
    runs: int


@dataclass(frozen=True)
class Noise:
    """The scatter of one run, by ``rule``: typical variance of ln metric, degrees of freedom over all, and its source.

    ``spread`` is the published one; ``condition`` is what a verdict rests on that was not measured, empty if nothing.
    """

    rule: Rule
    variance: float
    df: float
    source: str
    spread: Spread
    condition: str = ""


def estimate(table: pd.DataFrame, metric: str, spread: Spread | None = None) -> tuple[list[Estimate], Noise]:
    """Estimates of the variants of a checked table, ordered by Gflops, with the noise they are judged by.

    Args:
        table: as ``check_table`` returns it, at one step.
        metric: its column.
        spread: between reproductions of one variant; by default ``reproduction_spread``.

    Raises:
        UserError: standard errors are given for some variants only, or all seeds of every variant agree exactly.
    """
    ordered = table.sort_values(["gflops", "variant", metric])
    groups = [_Runs(str(variant), rows, metric) for variant, rows in ordered.groupby("variant", sort=False)]
    _check_errors(groups, f"{metric}_se")
    variances, noise = _judge_scatter(groups, metric, spread or reproduction_spread())
    estimates = [
        _describe(runs, variance / runs.count, df, (noise.spread.sd**2 + runs.squared_error) / runs.count)
        for runs, (variance, df) in zip(groups, variances, strict=True)
    ]
    return estimates, noise


class _Runs:
    """The rows of one variant: ln metric of its seeds, their sum of squares, and the mean squared standard error."""

    def __init__(self, variant: str, rows: pd.DataFrame, metric: str) -> None:
        values = rows[metric].to_numpy(dtype=float)
        self.variant, self.first, self.logs = variant, rows.iloc[0], np.log(values)
        self.count, self.df = len(values), len(values) - 1
        self.squares = 0.0 if np.ptp(values) == 0 else float(np.sum((self.logs - self.logs.mean()) ** 2))
        errors = rows[f"{metric}_se"].to_numpy(dtype=float) if f"{metric}_se" in rows.columns else np.array([math.nan])
        self.has_error = bool(np.isfinite(errors).all())
        self.squared_error = float(np.mean((errors / values) ** 2)) if self.has_error else 0.0

    @property
    def own(self) -> float | None:
        """Variance of one run by the variant's own seeds; None where they show none."""
        return max(self.squares / self.df, self.squared_error) if self.squares > 0 else None


def _judge_scatter(groups: Sequence[_Runs], metric: str, spread: Spread) -> tuple[list[tuple[float, float]], Noise]:
    """Variance of one run and its degrees of freedom, per variant, and the noise that they amount to."""
    df, squares = sum(runs.df for runs in groups), sum(runs.squares for runs in groups)
    if df > 0 and squares == 0:
        raise UserError(
            f"Column '{metric}' has exactly one value for all seeds of each variant: there is no noise to judge by. "
            f"Give each seed its own measurement, or one row per variant."
        )
    if df < MIN_DF:
        return _assume(groups, squares / df if df else 0.0, df, spread)
    lone = [runs.variant for runs in groups if runs.df == 0]
    p_equal = equal_variances_p([runs.logs for runs in groups if runs.df > 0])
    few = all(runs.count < ENOUGH_SEEDS for runs in groups)
    if few and p_equal is not None and p_equal >= EQUAL_VARIANCES:
        pooled = squares / df
        borrowed = f", also for {', '.join(lone)} with one seed" if lone else ""
        source = (
            f"spread over training seeds, {math.sqrt(pooled):.1%} pooled over variants with {df} degrees of freedom"
            f"{borrowed} (equal scatter is not doubted, Bartlett's p = {p_equal:.2g})"
        )
        variances = [(max(pooled, runs.squared_error), float(df)) for runs in groups]
        return variances, Noise("pooled", pooled, df, source, spread, "all variants scatter alike")
    return _own(groups, df, spread, p_equal if few else None)


def _own(
    groups: Sequence[_Runs], df: int, spread: Spread, p_equal: float | None
) -> tuple[list[tuple[float, float]], Noise]:
    known = [own for runs in groups if (own := runs.own) is not None]
    most = max(known)
    borrowing = [runs.variant for runs in groups if runs.own is None]
    variances = [
        (own, float(runs.df))
        if (own := runs.own) is not None
        else (max(most, spread.sd**2 + runs.squared_error), float(spread.df))
        for runs in groups
    ]
    doubted = "" if p_equal is None else f"; equal scatter is doubted, Bartlett's p = {p_equal:.2g}"
    source = (
        f"spread over training seeds, each variant by its own ({math.sqrt(min(known)):.1%} to {math.sqrt(most):.1%}"
        f"{doubted}), Welch's t"
    )
    condition = ""
    if borrowing:
        names = ", ".join(borrowing)
        source += f"; {names} without a spread of seeds: the largest of these or {spread.sd:.1%}, whichever is more"
        verb = "scatters" if len(borrowing) == 1 else "scatter"
        condition = f"{names} {verb} no more than {math.sqrt(max(most, spread.sd**2)):.1%}"
    return variances, Noise("own", float(np.mean([v for v, _ in variances])), df, source, spread, condition)


def _assume(groups: Sequence[_Runs], pooled: float, df: int, spread: Spread) -> tuple[list[tuple[float, float]], Noise]:
    published = (
        f"the published spread between reproductions of one variant, {spread.sd:.1%} with {spread.df} degrees of "
        f"freedom"
    )
    if df:
        source = (
            f"WIDENED: the seeds leave {df} of the {MIN_DF} degrees of freedom that their spread "
            f"({math.sqrt(pooled):.1%}) would need to decide, so it is taken as no less than {published}"
        )
    elif groups[0].has_error:
        source = f"standard errors of the table and what another training seed would change, assumed to be {published}"
    else:
        unsaid = "; n_samples alone do not tell it" if "n_samples" in groups[0].first.index else ""
        source = f"assumed, as the table has neither several seeds nor standard errors{unsaid}: {published}"
    variances = [(max(pooled, spread.sd**2 + runs.squared_error), float(spread.df)) for runs in groups]
    condition = f"runs scatter as published reproductions do ({spread.sd:.1%})"
    return variances, Noise("assumed", float(np.mean([v for v, _ in variances])), spread.df, source, spread, condition)


def equal_variances_p(groups: Sequence[NDArray[np.float64]]) -> float | None:
    """Bartlett's test of equal variances over groups of two values or more; None with fewer than two groups.

    0 where the values of a group agree exactly.
    """
    if len(groups) < 2:
        return None
    if any(np.ptp(values) == 0 for values in groups):
        return 0.0
    return float(stats.bartlett(*groups).pvalue)


def _check_errors(groups: Sequence[_Runs], column: str) -> None:
    lacking = [runs.variant for runs in groups if not runs.has_error]
    if lacking and len(lacking) < len(groups):
        raise UserError(f"Column '{column}' is empty for {', '.join(lacking)}. Fill it for all variants or none.")


def _describe(runs: _Runs, variance: float, df: float, assumed: float) -> Estimate:
    row: pd.Series[float] = runs.first
    patch = None if math.isnan(row["patch"]) else int(row["patch"])
    ln_tokens = None if patch is None else -2 * math.log(patch)
    if "tokens" in row.index and not math.isnan(row["tokens"]):
        ln_tokens = math.log(row["tokens"])
    return Estimate(
        variant=runs.variant,
        family=family_of(runs.variant),
        size=str(row["size"]),
        patch=patch,
        params_m=float(row["params_m"]),
        gflops=float(row["gflops"]),
        ln_tokens=ln_tokens,
        ln_metric=float(runs.logs.mean()),
        variance=variance,
        df=df,
        assumed=assumed,
        runs=runs.count,
    )
