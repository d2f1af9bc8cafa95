"""One run's curve over steps from few points: a power law above a floor that is known to lie below the last point.

Two points of a run do not tell a floor, and a bare power law that ignores it is 19% to 66% too low a factor of four
later. So every floor E from 0 up to the last value counts, by how well the points fit y = E + A x^-a; with two points
all fit exactly, and the interval says so.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dit_scaling.common.errors import UserError
from dit_scaling.laws.frontier import LEVEL, Interval

Array = NDArray[np.float64]

FLOORS = 200
"""So many floors, evenly spread between 0 and the last value."""
POINT_SD = 0.02
"""Of ln FID-50K of one run at one step: draws of one model vary by about 2% (Karras et al. 2022, arXiv 2206.00364)."""
DRAWS = 50


@dataclass(frozen=True)
class Curve:
    """Floors with their weights and lines ln (y - E) = ln A - a ln x."""

    floors: Array
    weights: Array
    ln_scales: Array
    exponents: Array
    noise: float

    def predict(self, x: float) -> Interval:
        """The value that is measured at ``x``: the median over floors, and an interval with the noise of a value."""
        centres = np.log(self.floors + np.exp(self.ln_scales - self.exponents * math.log(x)))
        noise = self.noise * np.random.default_rng(0).standard_normal((DRAWS, 1))
        values, weights = (centres + noise).ravel(), np.tile(self.weights, DRAWS)
        order = np.argsort(values)
        share = np.cumsum(weights[order]) / weights.sum()
        low, middle, high = np.interp([(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2], share, values[order])
        return Interval(math.exp(middle), math.exp(low), math.exp(high))


def fit_curve(x: ArrayLike, y: ArrayLike, noise: float = POINT_SD) -> Curve:
    """Fit two or more points of one run; ``noise`` is that of ln y of one point.

    Raises:
        UserError: there are fewer than two points, or they are not positive and falling.
    """
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(xs) < 2 or xs.shape != ys.shape or not ((xs > 0).all() and (ys > 0).all()) or ys[-1] >= ys[0]:
        raise UserError("A curve needs two or more points of one run, positive and falling, in the order of steps.")
    floors = np.linspace(0, ys.min(), FLOORS, endpoint=False)
    ln_x = np.log(xs)
    rest = np.log(ys - floors[:, None])  # (F, n)
    centred = ln_x - ln_x.mean()
    exponents = -(rest * centred).sum(axis=1) / np.sum(centred**2)
    ln_scales = rest.mean(axis=1) + exponents * ln_x.mean()
    fitted = np.log(floors[:, None] + np.exp(ln_scales[:, None] - exponents[:, None] * ln_x))
    misfit = np.sum((np.log(ys) - fitted) ** 2, axis=1) / noise**2
    weights = np.exp(-0.5 * (misfit - misfit.min())) * (exponents > 0)
    return Curve(floors, weights / weights.sum(), ln_scales, exponents, noise)
