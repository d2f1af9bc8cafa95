"""Pairs of variants, the test of each pair, and the effect pooled over pairs.

All effects are differences of ln metric, favoured variant minus the other: negative is the claimed direction, and
exp(effect) is the ratio of the metrics.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from dit_scaling.claims.noise import Estimate, Noise

EQUAL_GFLOPS_RATIO = 1.25

Outcome = Literal["resolved for", "resolved against", "unresolved"]
Pair = tuple[Estimate, Estimate]
"""The variant that the claim says is better, and the other."""


@dataclass(frozen=True)
class Comparison:
    """The test of one pair.

    ``effect`` is the difference of ln metric, ``statistic`` is effect / standard_error on ``df`` degrees of freedom
    (None: normal). ``p`` is one-sided for the claimed direction; ``p_holm`` and ``p_holm_against`` are the one-sided
    p-values of the claimed and the opposite direction, corrected by Holm's method over the pairs of the claim.
    """

    favoured: str
    other: str
    effect: float
    standard_error: float
    statistic: float
    df: float | None
    p: float
    p_holm: float
    p_holm_against: float
    outcome: Outcome


@dataclass(frozen=True)
class PooledEffect:
    """Mean difference of ln metric over pairs with its confidence interval; ``p`` is one-sided, claimed direction."""

    mean: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class GflopsException:
    """A pair that Gflops misplace: ``better`` has the lower metric with nearly equal or fewer Gflops than ``worse``.

    ``effect`` is the difference of ln metric, better minus worse.
    """

    kind: Literal["equal Gflops", "more Gflops, worse"]
    better: str
    worse: str
    gflops_better: float
    gflops_worse: float
    metric_better: float
    metric_worse: float
    effect: float
    standard_error: float
    p: float


def size_pairs(estimates: Sequence[Estimate]) -> list[Pair]:
    """Claim 1: every pair of sizes at equal patch; the one with more parameters is favoured."""
    pairs = [(a, b) for a, b in combinations(estimates, 2) if a.patch == b.patch and a.size != b.size]
    return [(a, b) if a.params_m > b.params_m else (b, a) for a, b in pairs if a.params_m != b.params_m]


def patch_pairs(estimates: Sequence[Estimate]) -> list[Pair]:
    """Claim 2: every pair of patches at equal size; the smaller patch is favoured."""
    patched = [(e, e.patch) for e in estimates if e.patch is not None]
    pairs = [((a, p), (b, q)) for (a, p), (b, q) in combinations(patched, 2) if a.size == b.size and p != q]
    return [(a, b) if p < q else (b, a) for (a, p), (b, q) in pairs]


def equal_params_pairs(estimates: Sequence[Estimate]) -> list[Pair]:
    """Claim 3: every pair of patches at equal size, nearly equal in parameters; more Gflops are favoured."""
    pairs = [(a, b) if a.gflops > b.gflops else (b, a) for a, b in patch_pairs(estimates)]
    return [(a, b) for a, b in pairs if a.gflops > b.gflops]


def family_pairs(favoured: Sequence[Estimate], others: Sequence[Estimate]) -> list[Pair]:
    """Claim 0: one variant of each family, Gflops equal within a factor of ``EQUAL_GFLOPS_RATIO``."""
    return [(a, b) for a in favoured for b in others if gflops_ratio(a, b) <= EQUAL_GFLOPS_RATIO]


def gflops_ratio(a: Estimate, b: Estimate) -> float:
    """Larger over smaller Gflops."""
    return max(a.gflops, b.gflops) / min(a.gflops, b.gflops)


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Holm's (1979) step-down correction: p_(i) -> max over j <= i of min(1, (m - j + 1) p_(j)), any dependence."""
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(1, np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)))
    return corrected


def compare(pairs: Sequence[Pair], noise: Noise, alpha: float) -> tuple[Comparison, ...]:
    """Test each pair: t = difference / sqrt(sum of variances).

    A pair is resolved where its Holm-corrected one-sided p-value is below alpha, so that in each direction the chance
    of any wrong resolution among all pairs is at most alpha.
    """
    effects = np.array([a.ln_metric - b.ln_metric for a, b in pairs])
    errors = np.sqrt([a.variance + b.variance for a, b in pairs])
    p_for, p_against = stats.t.cdf(effects / errors, noise.df), stats.t.sf(effects / errors, noise.df)
    holm_for, holm_against = holm(p_for), holm(p_against)
    return tuple(
        Comparison(
            favoured=a.variant,
            other=b.variant,
            effect=float(effects[i]),
            standard_error=float(errors[i]),
            statistic=float(effects[i] / errors[i]),
            df=None if math.isinf(noise.df) else noise.df,
            p=float(p_for[i]),
            p_holm=float(holm_for[i]),
            p_holm_against=float(holm_against[i]),
            outcome=_outcome(holm_for[i], holm_against[i], alpha),
        )
        for i, (a, b) in enumerate(pairs)
    )


def pool(pairs: Sequence[Pair], noise: Noise, alpha: float) -> PooledEffect:
    """Mean effect over pairs: a contrast sum_v c_v ln m_v with variance sum_v c_v^2 var_v, as pairs share variants.

    Its interval is two-sided at 1 - ``alpha``.
    """
    weights: dict[str, float] = {}
    variances: dict[str, float] = {}
    for favoured, other in pairs:
        for variant, sign in ((favoured, 1), (other, -1)):
            weights[variant.variant] = weights.get(variant.variant, 0.0) + sign / len(pairs)
            variances[variant.variant] = variant.variance
    mean = float(np.mean([a.ln_metric - b.ln_metric for a, b in pairs]))
    error = math.sqrt(sum(weight**2 * variances[variant] for variant, weight in weights.items()))
    reach = float(stats.t.isf(alpha / 2, noise.df)) * error
    return PooledEffect(mean, mean - reach, mean + reach, float(stats.t.cdf(mean / error, noise.df)))


def gflops_exceptions(estimates: Sequence[Estimate], noise: Noise, alpha: float) -> tuple[GflopsException, ...]:
    """Pairs that Gflops alone misplace, beyond noise.

    Listed where the variant with fewer Gflops has the lower metric (one-sided p < alpha), or where Gflops are equal
    within a factor of ``EQUAL_GFLOPS_RATIO`` and the metrics differ (two-sided p < alpha). P-values are not corrected
    for the number of pairs: the list speaks against the claim, so it rather names too many.
    """
    found = []
    for a, b in combinations(estimates, 2):
        better, worse = (a, b) if a.ln_metric < b.ln_metric else (b, a)
        effect, error = better.ln_metric - worse.ln_metric, math.sqrt(a.variance + b.variance)
        sides = 1 if better.gflops < worse.gflops else 2
        p = sides * float(stats.t.cdf(effect / error, noise.df))
        near = gflops_ratio(a, b) <= EQUAL_GFLOPS_RATIO
        if p < alpha and (near or sides == 1):
            found.append(
                GflopsException(
                    kind="equal Gflops" if near else "more Gflops, worse",
                    better=better.variant,
                    worse=worse.variant,
                    gflops_better=better.gflops,
                    gflops_worse=worse.gflops,
                    metric_better=math.exp(better.ln_metric),
                    metric_worse=math.exp(worse.ln_metric),
                    effect=effect,
                    standard_error=error,
                    p=p,
                )
            )
    return tuple(found)


def _outcome(p_for: float, p_against: float, level: float) -> Outcome:
    if p_for < level:
        return "resolved for"
    return "resolved against" if p_against < level else "unresolved"
