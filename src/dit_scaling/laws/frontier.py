"""IsoFLOP parabolas, and the frontier through their minima: N_opt(C) ~ C^g and L_opt(C) ~ C^-c (arXiv 2203.15556, 3.2).

ln L is a parabola in ln N at each budget, through all sizes that the design put there: the window is fixed before
anything is measured. Straight lines in ln C lead through the minima. Intervals come from replicates (``run_grid``) in
which other seeds were drawn, and with them one of the admissible windows of budgets: all, or all but the lowest. The
spread over windows, and what the lines leave over of the minima beyond the seeds' scatter, are the term for the
law's form.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dit_scaling.common.errors import UserError
from dit_scaling.laws.run_grid import Grid, pools, resampled_means, scatter

Array = NDArray[np.float64]

FEWEST_SIZES, FEWEST_BUDGETS = 4, 3
REPLICATES = 1000
LEVEL = 0.9


@dataclass(frozen=True)
class Interval:
    """An estimate and where it lies with probability ``LEVEL``."""

    value: float
    low: float
    high: float

    @property
    def identified(self) -> bool:
        """Whether the interval of an exponent is no wider than its value; else the data do not identify it."""
        return self.high - self.low <= abs(self.value)


class PutToTest:
    """What was ``predicted`` of a value that was not fitted, beside what was ``measured``."""

    predicted: Interval
    measured: float

    @property
    def error(self) -> float:
        """Predicted over measured, less 1."""
        return self.predicted.value / self.measured - 1

    @property
    def covered(self) -> bool:
        """Whether the interval holds the measured value."""
        return self.predicted.low <= self.measured <= self.predicted.high


@dataclass(frozen=True)
class Minimum:
    """The parabola of one budget: size and loss at its vertex, which say something if it is ``interior``.

    It is interior if the parabola has a minimum and that lies within the sizes measured.
    """

    flops: float
    sizes: int
    params: float
    loss: float
    interior: bool


@dataclass(frozen=True)
class Frontier:
    """The fitted frontier."""

    minima: tuple[Minimum, ...]
    size_exponent: Interval
    """g of N_opt ~ C^g."""
    loss_exponent: Interval
    """c of L_opt ~ C^-c."""
    pooled: bool
    """Whether deviations of seeds were pooled over sizes."""
    run_sd: float
    """Of ln value of one run,"""
    df: int
    """known with so many degrees of freedom."""
    grid: Grid
    _lines: Array
    """(replicates, 2, 2): intercept and slope of ln N_opt and ln L_opt, about the mean ln C."""
    _form: tuple[float, float]
    """Standard deviations of ln N_opt and ln L_opt about their lines, beyond the seeds'."""

    @property
    def largest(self) -> float:
        """The largest budget fitted."""
        return self.minima[-1].flops

    @property
    def smallest(self) -> float:
        """The smallest budget fitted."""
        return self.minima[0].flops

    def predict(self, flops: float, seeds: int = 4) -> tuple[Interval, Interval]:
        """Best size and the loss that is measured there, at another budget.

        Intervals hold the replicates, the form, and the noise of a value measured with so many ``seeds``.
        """
        ln_c = np.log(self.grid.stops)
        distance = np.log(flops) - ln_c.mean()
        leverage = np.sqrt(1 + 1 / len(ln_c) + distance**2 / np.sum((ln_c - ln_c.mean()) ** 2))
        rng = np.random.default_rng(1)
        found = []
        for row, form in enumerate(self._form):
            drawn = self._lines[1:, row, 0] + distance * self._lines[1:, row, 1]
            drawn = drawn + form * leverage * rng.standard_t(max(1, len(ln_c) - 2), size=len(drawn))
            if row == 1:
                drawn = drawn + self.run_sd / np.sqrt(seeds) * rng.standard_t(self.df, len(drawn))
            centre = self._lines[0, row, 0] + distance * self._lines[0, row, 1]
            low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
            found.append(Interval(*(float(np.exp(value)) for value in (centre, low, high))))
        return found[0], found[1]


def fit_frontier(grid: Grid, replicates: int = REPLICATES, seed: int = 0) -> Frontier:
    """Fit the frontier of a grid over training FLOPs.

    Raises:
        UserError: a budget has too few sizes, there are too few budgets, a minimum is not inside the sizes measured, or
            seeds are too few to draw from.
    """
    window = np.isfinite(grid.means)
    if len(grid.stops) < FEWEST_BUDGETS or (window.sum(axis=0) < FEWEST_SIZES).any():
        raise UserError(
            f"A frontier needs {FEWEST_BUDGETS} budgets of training compute or more, and {FEWEST_SIZES} sizes or more "
            f"at each: there are {len(grid.stops)} with {', '.join(map(str, window.sum(axis=0)))}. A study with `laws` "
            "trains what is needed, as config/embedded-isoflop.yaml."
        )
    drawn = np.concatenate([grid.means[None], resampled_means(grid, replicates, seed)])
    vertices, bowls = _vertices(grid, drawn)
    minima = _minima(grid, vertices[0], bowls[0])
    outside = [minimum for minimum in minima if not minimum.interior]
    if outside:
        told = ", ".join(f"{minimum.flops:.3g}" for minimum in outside)
        raise UserError(
            f"The best size is not inside those measured at {told} FLOPs: add smaller or larger sizes there."
        )
    vertices = vertices[np.concatenate([[True], bowls[1:].all(axis=1)])]
    lines = _lines(grid, vertices, np.random.default_rng(seed))
    run_sd, df = scatter(grid)
    return Frontier(
        minima=minima,
        size_exponent=interval_of(lines[:, 0, 1]),
        loss_exponent=interval_of(-lines[:, 1, 1]),
        pooled=pools(grid),
        run_sd=run_sd,
        df=df,
        grid=grid,
        _lines=lines,
        _form=_form_sds(grid, vertices),
    )


def minima_of(grid: Grid) -> tuple[Minimum, ...]:
    """The minimum of each budget's parabola, interior or not; none at all where a budget has too few sizes."""
    if (np.isfinite(grid.means).sum(axis=0) < FEWEST_SIZES).any():
        return ()
    vertices, bowls = _vertices(grid, grid.means[None])
    return _minima(grid, vertices[0], bowls[0])


def _vertices(grid: Grid, means: Array) -> tuple[Array, NDArray[np.bool_]]:
    """(M, B, 2) ln N and ln L at the vertex of each parabola, and (M, B) whether it is a minimum."""
    found, bowls = np.empty((len(means), len(grid.stops), 2)), np.empty((len(means), len(grid.stops)), dtype=bool)
    for budget in range(len(grid.stops)):
        window = np.isfinite(grid.means[:, budget])
        x = np.log(grid.params[window])
        centre = x.mean()
        solve = np.linalg.pinv(np.vander(x - centre, 3, increasing=True))
        a, b, c = (means[:, window, budget] @ solve.T).T
        bowls[:, budget] = c > 0
        with np.errstate(divide="ignore", invalid="ignore"):
            found[:, budget, 0] = centre - b / (2 * c)
            found[:, budget, 1] = a - b**2 / (4 * c)
    return found, bowls


def _minima(grid: Grid, vertices: Array, bowls: NDArray[np.bool_]) -> tuple[Minimum, ...]:
    found = []
    for budget, (flops, (ln_params, ln_loss), bowl) in enumerate(zip(grid.stops, vertices, bowls, strict=True)):
        measured = np.flatnonzero(np.isfinite(grid.means[:, budget]))
        low, high = np.log(grid.params[measured[[0, -1]]])
        inside = bool(bowl and low < ln_params < high)
        found.append(Minimum(float(flops), len(measured), float(np.exp(ln_params)), float(np.exp(ln_loss)), inside))
    return tuple(found)


def _lines(grid: Grid, vertices: Array, rng: np.random.Generator) -> Array:
    """Straight lines through the vertices; the first row through all budgets, the others through a drawn window."""
    ln_c = np.log(grid.stops)
    windows = [slice(0, None)] + ([slice(1, None)] if len(ln_c) > FEWEST_BUDGETS else [])
    solved = []
    for window in windows:
        design = np.vander(ln_c[window] - ln_c.mean(), 2, increasing=True)
        solved.append(np.einsum("kb,mbr->mrk", np.linalg.pinv(design), vertices[:, window]))
    chosen = rng.integers(len(windows), size=len(vertices))
    chosen[0] = 0
    return np.asarray(np.stack(solved)[chosen, np.arange(len(vertices))])


def _form_sds(grid: Grid, vertices: Array) -> tuple[float, float]:
    """What the lines leave over of the vertices, less what the seeds alone would leave, as standard deviations."""
    ln_c = np.log(grid.stops)
    design = np.vander(ln_c - ln_c.mean(), 2, increasing=True)
    leave = np.eye(len(ln_c)) - design @ np.linalg.pinv(design)
    df = len(ln_c) - 2
    sds = []
    for row in range(2):
        left = leave @ vertices[0, :, row]
        by_seeds = (vertices[1:, :, row] - vertices[1:, :, row].mean(axis=0)) @ leave
        sds.append(float(np.sqrt(max(0.0, (left @ left - np.mean(np.sum(by_seeds**2, axis=1))) / df))))
    return sds[0], sds[1]


def interval_of(values: Array) -> Interval:
    """The first of the values, and the quantiles of the others, its replicates."""
    low, high = np.quantile(values[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(values[0]), float(low), float(high))
