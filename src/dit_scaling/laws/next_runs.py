"""Which further runs would narrow a prediction most: the frontier is fitted again as if each had been made."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dit_scaling.common.errors import UserError
from dit_scaling.common.words import count
from dit_scaling.laws.frontier import Frontier, Interval, fit_frontier
from dit_scaling.laws.run_grid import Grid

Array = NDArray[np.float64]

REPLICATES = 300
STEP = 2.5
"""A further budget, over the largest fitted."""
AROUND = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Sizes of a further budget, over the best one that is expected."""


@dataclass(frozen=True)
class NextRuns:
    """Runs to make, in words, and the interval of the value that they would leave."""

    what: str
    width: float
    """Half of the interval of ln value, as it would be."""


def best_next_runs(frontier: Frontier, flops: float) -> NextRuns:
    """The runs that narrow the value predicted at a budget most, of one more seed of each size and a further budget."""
    return min(_candidates(frontier, flops), key=lambda candidate: candidate.width)


def width(interval: Interval) -> float:
    """Half of the interval of ln value."""
    return float(np.log(interval.high / interval.low) / 2)


def further_budget(frontier: Frontier) -> tuple[float, float]:
    """Training FLOPs of the next budget, and the best size that is expected there."""
    flops = STEP * frontier.largest
    return flops, frontier.predict(flops)[0].value


def _candidates(frontier: Frontier, flops: float) -> Iterator[NextRuns]:
    grid = frontier.grid
    for size, name in enumerate(grid.names):
        stops = grid.stops[np.isfinite(grid.means[size])]
        yield _refitted(_with_seed(grid, size), flops, f"one more seed of {name}, to {stops[-1]:.3g} FLOPs")
    budget, params = further_budget(frontier)
    sizes = f"{AROUND[0] * params:.2g} to {AROUND[-1] * params:.2g} parameters"
    what = f"sizes from {sizes} at {budget:.3g} FLOPs, {count(int(grid.seeds.max()), 'seed')} each"
    yield _refitted(_with_budget(frontier, budget, params), flops, what)


def _refitted(grid: Grid, flops: float, what: str) -> NextRuns:
    try:
        return NextRuns(what, width(fit_frontier(grid, REPLICATES).predict(flops)[1]))
    except UserError:
        return NextRuns(what, float("inf"))


def _with_seed(grid: Grid, size: int) -> Grid:
    """As if a size had one run more, at its mean."""
    more = np.full((len(grid.names), 1, len(grid.stops)), np.nan)
    more[size, 0] = grid.means[size]
    return Grid(grid.names, grid.params, grid.stops, np.concatenate([grid.ln_value, more], axis=1))


def _with_budget(frontier: Frontier, flops: float, params: float) -> Grid:
    """As if new sizes had been measured at a further budget, on a parabola like that of the largest one."""
    grid, seeds = frontier.grid, frontier.grid.ln_value.shape[1]
    sizes, loss = params * np.array(AROUND), frontier.predict(flops)[1].value
    last = np.isfinite(grid.means[:, -1])
    curvature = max(1e-3, float(np.polyfit(np.log(grid.params[last]), grid.means[last, -1], 2)[0]))
    values = np.log(loss) + curvature * np.log(sizes / params) ** 2
    scattered = frontier.run_sd * np.random.default_rng(0).standard_normal((len(sizes), seeds))
    scattered -= scattered.mean(axis=1, keepdims=True)
    old = np.concatenate([grid.ln_value, np.full((*grid.ln_value.shape[:2], 1), np.nan)], axis=2)
    new = np.full((len(sizes), seeds, len(grid.stops) + 1), np.nan)
    new[:, :, -1] = values[:, None] + scattered
    names = tuple(f"further {number}" for number in range(len(sizes)))
    both = np.concatenate([old, new])
    return Grid((*grid.names, *names), np.concatenate([grid.params, sizes]), np.append(grid.stops, flops), both)
