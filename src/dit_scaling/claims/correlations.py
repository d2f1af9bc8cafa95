"""How much of the metric Gflops explain, how much parameters, how much both parameters and tokens."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from dit_scaling.claims.noise import Estimate

MIN_VARIANTS = 8
"""Fewest variants for which dependent correlations are tested: 5 degrees of freedom, a 3 x 3 grid with one missing.
With fewer, a difference of correlations has an interval of nearly its whole range and decides nothing."""

_ALMOST_ONE = 1 - 1e-12  # Fisher's transform of an exact law is infinite

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class DependentTest:
    """Williams' test of two correlations with one variable in common; p-values are one-sided."""

    t: float
    df: int
    p_gflops: float
    p_params: float


@dataclass(frozen=True)
class DifferenceInterval:
    """How much closer the metric goes with Gflops than with parameters: a difference of correlations.

    Positive in favour of Gflops, with its confidence interval at ``level``.
    """

    difference: float
    low: float
    high: float
    level: float


@dataclass(frozen=True)
class Correlations:
    """Pearson r and R^2 over variants; None where too few variants or a constant column leave it undefined.

    ``pearson_*`` correlate the metric itself, ``pearson_*_ln`` its logarithm, with ln Gflops and ln params; ``r2_*``
    are of ln metric, ``r2_params_tokens_linear`` of the metric. ``exponent_*`` are the slopes of ln metric on ln params
    and ln tokens together, and ``p_tokens`` is that of the F-test of ln tokens added to ln Gflops. ``advantage`` is of
    the correlations with -ln metric.
    """

    variants: int
    pearson_gflops: float
    pearson_params: float
    pearson_gflops_ln: float
    pearson_params_ln: float
    r2_gflops: float
    r2_params: float
    r2_gflops_tokens: float | None
    r2_params_tokens: float | None
    r2_params_tokens_linear: float | None
    exponent_params: float | None
    exponent_tokens: float | None
    p_tokens: float | None
    williams: DependentTest | None
    advantage: DifferenceInterval | None


def correlate(estimates: Sequence[Estimate], alpha: float = 0.05) -> Correlations | None:
    """Correlations over the variants, or None with fewer than three, or Gflops, parameters or metric all equal.

    A variant with several seeds enters with the geometric mean of its metric.
    """
    if len(estimates) < 3:
        return None
    ln_metric = np.array([e.ln_metric for e in estimates])
    ln_gflops = np.log([e.gflops for e in estimates])
    ln_params = np.log([e.params_m for e in estimates])
    if min(np.ptp(ln_metric), np.ptp(ln_gflops), np.ptp(ln_params)) == 0:
        return None
    r_gflops, r_params = _pearson(ln_gflops, ln_metric), _pearson(ln_params, ln_metric)
    r_between = _pearson(ln_gflops, ln_params)
    metric = np.exp(ln_metric - ln_metric.max())  # a common factor changes no correlation
    joint = _joint(estimates, ln_gflops, ln_params, ln_metric, metric)
    testable = len(estimates) >= MIN_VARIANTS and abs(r_between) < 1 - 1e-9
    return Correlations(
        variants=len(estimates),
        pearson_gflops=_pearson(ln_gflops, metric),
        pearson_params=_pearson(ln_params, metric),
        pearson_gflops_ln=r_gflops,
        pearson_params_ln=r_params,
        r2_gflops=r_gflops**2,
        r2_params=r_params**2,
        r2_gflops_tokens=joint.r2_gflops if joint else None,
        r2_params_tokens=joint.r2 if joint else None,
        r2_params_tokens_linear=joint.r2_linear if joint else None,
        exponent_params=joint.exponent_params if joint else None,
        exponent_tokens=joint.exponent_tokens if joint else None,
        p_tokens=joint.p_tokens if joint else None,
        williams=williams(-r_gflops, -r_params, r_between, len(estimates)) if testable else None,
        advantage=zou(-r_gflops, -r_params, r_between, len(estimates), alpha) if testable else None,
    )


def zou(r_gflops: float, r_params: float, r_between: float, n: int, alpha: float) -> DifferenceInterval:
    """Interval of r_gflops - r_params at 1 - ``alpha``, for correlations with one variable in common (Zou 2007).

    From Fisher's intervals (l, u) of either: r1 - r2 -+ sqrt((r1 - l1)^2 + (u2 - r2)^2 - 2 c (r1 - l1)(u2 - r2)), with
    c their asymptotic correlation, ((r12 - r1 r2 / 2)(1 - r1^2 - r2^2 - r12^2) + r12^3) / ((1 - r1^2)(1 - r2^2)).
    """
    first, second = (float(np.clip(r, -_ALMOST_ONE, _ALMOST_ONE)) for r in (r_gflops, r_params))
    reach = float(stats.norm.isf(alpha / 2)) / math.sqrt(n - 3)
    (low1, high1), (low2, high2) = (
        (math.tanh(math.atanh(r) - reach), math.tanh(math.atanh(r) + reach)) for r in (first, second)
    )
    remainder = 1 - first**2 - second**2 - r_between**2
    c = ((r_between - first * second / 2) * remainder + r_between**3) / ((1 - first**2) * (1 - second**2))

    def spread(a: float, b: float) -> float:
        return math.sqrt(max(0.0, a**2 + b**2 - 2 * c * a * b))

    difference = first - second
    return DifferenceInterval(
        difference=difference,
        low=difference - spread(first - low1, high2 - second),
        high=difference + spread(high1 - first, second - low2),
        level=1 - alpha,
    )


def williams(r_gflops: float, r_params: float, r_between: float, n: int) -> DependentTest:
    """Williams (1959), T2 of Steiger (1980, eq. 7), for r_gflops = r_params on n - 3 degrees of freedom.

    t = (r1 - r2) sqrt((n-1)(1+r12) / (2 (n-1)/(n-3) |R| + ((r1+r2)/2)^2 (1-r12)^3)), |R| = 1 - r1^2 - r2^2 - r12^2 +
    2 r1 r2 r12. Steiger recommends it for small n. It takes variants as draws from a normal population, which a grid of
    sizes and patches is not: its p-value is a yardstick, and verdicts ask for the equal-params pairs as well.
    """
    determinant = max(0.0, 1 - r_gflops**2 - r_params**2 - r_between**2 + 2 * r_gflops * r_params * r_between)
    mean = (r_gflops + r_params) / 2
    denominator = 2 * (n - 1) / (n - 3) * determinant + mean**2 * (1 - r_between) ** 3
    t = (r_gflops - r_params) * math.sqrt((n - 1) * (1 + r_between) / denominator)
    return DependentTest(t, n - 3, float(stats.t.sf(t, n - 3)), float(stats.t.cdf(t, n - 3)))


@dataclass(frozen=True)
class _Joint:
    r2: float
    r2_gflops: float
    r2_linear: float
    exponent_params: float
    exponent_tokens: float
    p_tokens: float


def _joint(
    estimates: Sequence[Estimate],
    ln_gflops: FloatArray,
    ln_params: FloatArray,
    ln_metric: FloatArray,
    metric: FloatArray,
) -> _Joint | None:
    """ln metric = a + b ln params + c ln tokens, where at least two degrees of freedom are left."""
    tokens = [e.ln_tokens for e in estimates if e.ln_tokens is not None]
    n = len(estimates)
    if len(tokens) < n or n < 5 or np.ptp(tokens) == 0:
        return None
    ln_tokens = np.array(tokens)
    coefficients, residual = _least_squares(ln_metric, ln_params, ln_tokens)
    total = float(np.sum((ln_metric - ln_metric.mean()) ** 2))
    total_linear = float(np.sum((metric - metric.mean()) ** 2))
    _, restricted = _least_squares(ln_metric, ln_gflops)
    _, full = _least_squares(ln_metric, ln_gflops, ln_tokens)
    f = math.inf if full == 0 else (restricted - full) / (full / (n - 3))
    return _Joint(
        r2=1 - residual / total,
        r2_gflops=1 - full / total,
        r2_linear=1 - _least_squares(metric, ln_params, ln_tokens)[1] / total_linear,
        exponent_params=float(coefficients[1]),
        exponent_tokens=float(coefficients[2]),
        p_tokens=float(stats.f.sf(f, 1, n - 3)),
    )


def _least_squares(y: FloatArray, *predictors: FloatArray) -> tuple[FloatArray, float]:
    """Coefficients (intercept first) and the residual sum of squares."""
    design = np.column_stack([np.ones_like(y), *predictors])
    coefficients: FloatArray = np.linalg.lstsq(design, y, rcond=None)[0].astype(np.float64)
    return coefficients, float(np.sum((y - design @ coefficients) ** 2))


def _pearson(x: FloatArray, y: FloatArray) -> float:
    return float(np.corrcoef(x, y)[0, 1])
