"""The additive law E + A N^-a + B D^-b of a study, N parameters and D training images, with intervals over seeds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dit_scaling.common.errors import UserError
from dit_scaling.laws.frontier import LEVEL, Interval, interval_of
from dit_scaling.laws.run_grid import Grid, resampled_means
from dit_scaling.laws.sum_law import SumLaw, fit_sum_law

Array = NDArray[np.float64]

REPLICATES = 100
WIDEST_SCALE = 2.25
"""Upper over lower end of the interval of A or B, beyond which the data are not said to identify it."""
FLOOR_SHARE = 0.01
"""Of the smallest value: a floor whose interval begins below that cannot be told from none."""
NAMES = ("E", "A", "a", "B", "b")
FEWEST = 6


@dataclass(frozen=True)
class Parameter:
    """One number of the law; ``interval`` is None where the data do not identify it."""

    name: str
    interval: Interval | None


@dataclass(frozen=True)
class AdditiveLaw:
    """The fitted law, its parameters, and the exponent b / (a + b) of the best size that it implies."""

    law: SumLaw
    parameters: tuple[Parameter, ...]
    size_exponent: Interval
    _replicates: tuple[SumLaw, ...]

    def predict(self, params: float, images: float, run_sd: float, seeds: int = 4) -> Interval:
        """The value that is measured at another size and number of images, with so many seeds.

        The interval holds the replicates, the law's residual as a term for its form, and the noise of the measurement.
        """
        at = np.array([[params, images]])
        rng = np.random.default_rng(1)
        drawn = np.array([np.log(law(at)[0]) for law in self._replicates])
        noise = np.hypot(self.law.residual, run_sd / np.sqrt(seeds))
        drawn = (drawn[:, None] + noise * rng.standard_normal((len(drawn), 50))).ravel()
        low, high = np.exp(np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
        return Interval(float(self.law(at)[0]), float(low), float(high))


def fit_additive(grid: Grid, images: Array, replicates: int = REPLICATES, seed: int = 0) -> AdditiveLaw:
    """Fit the law to the means of a grid; ``images`` (S, B) are those that each size has seen at each stop.

    Raises:
        UserError: fewer than ``FEWEST`` cells, or than three sizes or exports, or too few seeds to draw from.
    """
    there = np.isfinite(grid.means)
    exports = int(there.sum(axis=1).max())
    if there.sum() < FEWEST or len(grid.params) < 3 or exports < 3:
        raise UserError(
            f"The additive law needs three sizes, three exports of one of them, and {FEWEST} cells or more: there are "
            f"{len(grid.params)} sizes, {exports} exports and {there.sum()} cells."
        )
    x = np.column_stack([grid.params[np.nonzero(there)[0]], images[there]])
    best = fit_sum_law(x, np.exp(grid.means[there]), floor=True)
    drawn = resampled_means(grid, replicates, seed)
    others = tuple(fit_sum_law(x, np.exp(means[there]), floor=True, start=best) for means in drawn)
    smallest = float(np.exp(grid.means[there].min()))
    numbers = np.array([_numbers(law) for law in (best, *others)])
    parameters = tuple(
        Parameter(name, _identified(name, column, smallest)) for name, column in zip(NAMES, numbers.T, strict=True)
    )
    implied = numbers[:, 4] / (numbers[:, 2] + numbers[:, 4])
    return AdditiveLaw(best, parameters, interval_of(implied), others)


def _numbers(law: SumLaw) -> tuple[float, ...]:
    (scale_n, scale_d), (a, b) = law.coefficients, law.exponents
    return law.floor, scale_n, a, scale_d, b


def _identified(name: str, values: Array, smallest: float) -> Interval | None:
    """The interval of a parameter, or None where it is too wide; scales are judged by their logarithms."""
    interval = interval_of(values)
    if name in ("A", "B"):
        return interval if interval.low > 0 and interval.high / interval.low < WIDEST_SCALE else None
    return interval if interval.identified and (name != "E" or interval.low > FLOOR_SHARE * smallest) else None
