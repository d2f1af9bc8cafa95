"""Laws of one quantity: y = A x^-a, and y = E + A x^-a with an irreducible part, with intervals over seeds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dit_scaling.laws.frontier import Interval, interval_of
from dit_scaling.laws.run_grid import NEAR, Grid, resampled_means
from dit_scaling.laws.sum_law import SumLaw, fit_sum_law

Array = NDArray[np.float64]

REPLICATES = 100
FEWEST = {False: 3, True: 4}
"""Points of a law without and with a floor: one more than its numbers, so that it has a residual."""


@dataclass(frozen=True)
class SingleLaw:
    """A law in one quantity; what the points do not identify is None."""

    quantity: str
    points: int
    exponent: Interval
    """a of the power law without a floor."""
    residual: float
    """Of ln y about it."""
    floor: Interval | None
    """E of the law with a floor."""


def single_laws(grid: Grid, images: Array) -> list[SingleLaw]:
    """Laws in parameters and in training images, where the grid has the points.

    Parameters: all sizes at the last stop that most of them share, if they have seen equally many images there; at
    equal compute they have not. Images: the size with most exports.

    Args:
        grid: values over stops.
        images: (S, B) that each size has seen at each stop.

    Raises:
        UserError: there are too few seeds to draw from.
    """
    there = np.isfinite(grid.means)
    means = np.concatenate([grid.means[None], resampled_means(grid, REPLICATES)])
    shared = there.sum(axis=0)
    stop, size = int(np.flatnonzero(shared == shared.max())[-1]), int(np.argmax(there.sum(axis=1)))
    sizes, stops = there[:, stop], there[size]
    found = []
    if sizes.sum() >= FEWEST[False] and np.ptp(np.log(images[sizes, stop])) <= NEAR:
        found.append(_fit(f"parameters, at {grid.stops[stop]:.3g} images", grid.params[sizes], means[:, sizes, stop]))
    if stops.sum() >= FEWEST[False]:
        found.append(_fit(f"training images, of {grid.names[size]}", images[size, stops], means[:, size, stops]))
    return found


def _fit(quantity: str, x: Array, ln_values: Array) -> SingleLaw:
    """Fit (M, k) logarithms at ``x`` (k,), the first row those measured."""
    powers = _fits(x, ln_values, floor=False)
    floor = None
    if len(x) >= FEWEST[True]:
        floors = np.array([law.floor for law in _fits(x, ln_values, floor=True)])
        span = interval_of(floors)
        floor = span if span.identified and span.low > 0.01 * float(np.exp(ln_values[0].min())) else None
    exponents = np.array([law.exponents[0] for law in powers])
    return SingleLaw(quantity, len(x), interval_of(exponents), powers[0].residual, floor)


def _fits(x: Array, ln_values: Array, floor: bool) -> list[SumLaw]:
    first = fit_sum_law(x[:, None], np.exp(ln_values[0]), floor=floor)
    return [first, *(fit_sum_law(x[:, None], np.exp(row), floor=floor, start=first) for row in ln_values[1:])]
