"""Pairs of variants, the test of each pair, which of them are neighbours, and effects pooled over pairs.

All effects are differences of ln metric, favoured variant minus the other: negative is the claimed direction, and
exp(effect) is the ratio of the metrics.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dit_scaling.claims.contrasts import Contrast, contrast, difference
from dit_scaling.claims.noise import Estimate, Model, Noise

EQUAL_GFLOPS_RATIO = 1.25

Outcome = Literal["resolved for", "resolved against", "unresolved"]
Pair = tuple[Estimate, Estimate]
"""The variant that the claim says is better, and the other."""


@dataclass(frozen=True)
class Comparison:
    """The test of one pair.

    ``effect`` is the difference of ln metric, ``statistic`` is effect / standard_error on ``df`` degrees of freedom
    (None: normal). ``p`` is one-sided for the claimed direction; ``p_holm`` and ``p_holm_against`` are the one-sided
    p-values of the claimed and the opposite direction, corrected by Holm's method over the pairs of the claim. All
    three are ``widened`` where the pair had too few degrees of freedom alone. ``neighbours`` are next to each other in
    size, or in patch, among the variants judged.
    """

    favoured: str
    other: str
    neighbours: bool
    effect: float
    standard_error: float
    statistic: float
    df: float | None
    widened: bool
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
class Step:
    """From one size or patch to its neighbour: the mean effect over the pairs that make it."""

    name: str
    pairs: int
    effect: PooledEffect


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


def neighbours_of(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs (a, b) without a variant c between them, that is, with both (a, c) and (c, b) among ``pairs``."""
    names = {(a.variant, b.variant) for a, b in pairs}
    return [(a, b) for a, b in pairs if not any((a.variant, c) in names and (c, b.variant) in names for _, c in names)]


def size_step(pair: Pair) -> str:
    """Name of the step in size that a pair of claim 1 makes."""
    return f"{pair[1].size} to {pair[0].size}"


def patch_step(pair: Pair) -> str:
    """Name of the step in patch that a pair of claims 2 and 3 makes."""
    return f"patch {pair[1].patch} to {pair[0].patch}"


def gflops_ratio(a: Model, b: Model) -> float:
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
    """Test each pair: t = difference / sqrt(sum of variances), by ``contrasts``.

    A pair is resolved where its Holm-corrected one-sided p-value is below alpha / 2, so that the chance of any wrong
    resolution among all pairs, in either direction, is at most alpha.
    """
    near = {(a.variant, b.variant) for a, b in neighbours_of(pairs)}
    tests = [difference(a, b, noise) for a, b in pairs]
    holm_for, holm_against = holm([t.p_for for t in tests]), holm([t.p_against for t in tests])
    return tuple(
        _compare(pair, tests[i], (pair[0].variant, pair[1].variant) in near, holm_for[i], holm_against[i], alpha / 2)
        for i, pair in enumerate(pairs)
    )


def pool(pairs: Sequence[Pair], noise: Noise, alpha: float) -> PooledEffect:
    """Mean effect over pairs: a contrast sum_v c_v ln m_v, as pairs share variants.

    Its interval is two-sided at 1 - ``alpha``.
    """
    weights = [(member, sign / len(pairs)) for pair in pairs for member, sign in zip(pair, (1, -1), strict=True)]
    mean = contrast(weights, noise)
    reach = mean.reach(alpha)
    return PooledEffect(mean.effect, mean.effect - reach, mean.effect + reach, mean.p_for)


def steps_of(neighbours: Sequence[Pair], name: Callable[[Pair], str], noise: Noise, alpha: float) -> tuple[Step, ...]:
    """The steps that pairs of neighbours make, towards larger sizes or smaller patches."""
    members: dict[str, list[Pair]] = {}
    for pair in sorted(neighbours, key=_place):
        members.setdefault(name(pair), []).append(pair)
    return tuple(Step(name, len(pairs), pool(pairs, noise, alpha)) for name, pairs in members.items())


def gflops_exceptions(estimates: Sequence[Estimate], noise: Noise, alpha: float) -> tuple[GflopsException, ...]:
    """Pairs that Gflops alone misplace, beyond noise.

    Listed where the variant with fewer Gflops has the lower metric (one-sided p < alpha), or where Gflops are equal
    within a factor of ``EQUAL_GFLOPS_RATIO`` and the metrics differ (two-sided p < alpha). P-values are not corrected
    for the number of pairs: the list speaks against the claim, so it rather names too many.
    """
    found = []
    for a, b in combinations(estimates, 2):
        better, worse = (a, b) if a.ln_metric < b.ln_metric else (b, a)
        test = difference(better, worse, noise)
        sides = 1 if better.gflops < worse.gflops else 2
        p = sides * test.p_for
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
                    effect=test.effect,
                    standard_error=test.tests[0][0],
                    p=p,
                )
            )
    return tuple(found)


def _place(pair: Pair) -> float:
    """Where in its order a pair starts: by parameters between sizes, by patch within one."""
    start = pair[1]
    return start.params_m if pair[0].size != start.size else -float(start.patch or 0)


def _compare(pair: Pair, test: Contrast, neighbours: bool, p_for: float, p_against: float, level: float) -> Comparison:
    error, df = test.tests[0]
    outcome: Outcome = "unresolved"
    if min(p_for, p_against) < level:
        outcome = "resolved for" if p_for < p_against else "resolved against"
    return Comparison(
        favoured=pair[0].variant,
        other=pair[1].variant,
        neighbours=neighbours,
        effect=test.effect,
        standard_error=error,
        statistic=test.effect / error,
        df=None if math.isinf(df) else df,
        widened=len(test.tests) > 1,
        p=test.p_for,
        p_holm=float(p_for),
        p_holm_against=float(p_against),
        outcome=outcome,
    )
