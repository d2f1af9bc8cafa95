"""Tests of weighted sums of the variants' ln metric, by the rule of their noise.

A contrast sum_v c_v x_v has the variance sum_v c_v^2 var_v. Where variances are assumed, it is tested on the degrees of
freedom of the published spread; where each variant has its own, by Welch's t on Satterthwaite's
(sum c^2 var)^2 / sum((c^2 var)^2 / df). With fewer than ``MIN_DF`` of these the verdict is the weaker one of that test
and of the test by published reproductions.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from dit_scaling.claims.noise import MIN_DF, Estimate, Noise


@dataclass(frozen=True)
class Contrast:
    """A difference of ln metric, negative in the claimed direction, and the tests that it has to pass, all of them.

    ``tests`` holds a standard error and its degrees of freedom (inf: normal) each; the first is the estimate's own.
    """

    effect: float
    tests: tuple[tuple[float, float], ...]

    @property
    def p_for(self) -> float:
        """One-sided p-value of the claimed direction."""
        return max(student_cdf(self.effect / error, df) for error, df in self.tests)

    @property
    def p_against(self) -> float:
        """One-sided p-value of the opposite direction."""
        return max(student_cdf(-self.effect / error, df) for error, df in self.tests)

    def reach(self, alpha: float) -> float:
        """Half of the two-sided confidence interval at 1 - ``alpha``."""
        return max(-error * float(special.stdtrit(min(df, 1e9), alpha / 2)) for error, df in self.tests)


def contrast(weights: Iterable[tuple[Estimate, float]], noise: Noise) -> Contrast:
    """The sum of ``weights`` times ln metric; a variant may occur several times."""
    summed: dict[Estimate, float] = {}
    for estimate, weight in weights:
        summed[estimate] = summed.get(estimate, 0.0) + weight
    effect = sum(weight * estimate.ln_metric for estimate, weight in summed.items())
    parts = [(weight**2 * estimate.variance, estimate.df) for estimate, weight in summed.items()]
    variance = sum(part for part, _ in parts)
    if noise.rule != "own":
        return Contrast(effect, ((math.sqrt(variance), noise.df),))
    df = variance**2 / sum(part**2 / df for part, df in parts)
    own = (math.sqrt(variance), df)
    if df >= MIN_DF:
        return Contrast(effect, (own,))
    assumed = math.sqrt(sum(weight**2 * estimate.assumed for estimate, weight in summed.items()))
    return Contrast(effect, (own, (assumed, float(noise.spread.df))))


def difference(favoured: Estimate, other: Estimate, noise: Noise) -> Contrast:
    """ln metric of the favoured variant minus that of the other."""
    return contrast([(favoured, 1.0), (other, -1.0)], noise)


def homogeneity_p(estimates: Sequence[Estimate], noise: Noise) -> float:
    """P-value of "all variants have one metric", for two variants or more.

    F = sum w (x - mean)^2 / (k - 1) with w = 1 / variance and their weighted mean, on k - 1 and df degrees of freedom;
    where each variant has a variance of its own, Welch's (1951) for unequal ones: F / (1 + 2 (k - 2) h / (k^2 - 1)) on
    (k^2 - 1) / (3 h), h = sum (1 - w / sum w)^2 / df.
    """
    values = np.array([e.ln_metric for e in estimates])
    weights = 1 / np.array([e.variance for e in estimates])
    squares = float(np.sum(weights * (values - np.average(values, weights=weights)) ** 2))
    k = len(estimates)
    if noise.rule == "own":
        h = float(np.sum((1 - weights / weights.sum()) ** 2 / np.array([e.df for e in estimates])))
        f = squares / (k - 1) / (1 + 2 * (k - 2) * h / (k**2 - 1))
        return float(stats.f.sf(f, k - 1, (k**2 - 1) / (3 * h)))
    if math.isinf(noise.df):
        return float(stats.chi2.sf(squares, k - 1))
    return float(stats.f.sf(squares / (k - 1), k - 1, noise.df))


def student_cdf(t: float, df: float) -> float:
    """Student's distribution function; the normal one for infinite degrees of freedom."""
    return float(special.stdtr(df, t))
