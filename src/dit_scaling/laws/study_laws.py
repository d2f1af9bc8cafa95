"""The laws of one study, from its table of losses or of metrics."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dit_scaling.common.errors import UserError
from dit_scaling.config.laws_settings import FLOPS_PER_GFLOP
from dit_scaling.laws.additive import AdditiveLaw, fit_additive
from dit_scaling.laws.frontier import FEWEST_SIZES, Frontier, Interval, Minimum, PutToTest, fit_frontier, minima_of
from dit_scaling.laws.laws_table import Series, check_metric, one_series
from dit_scaling.laws.run_grid import Grid, grid_of, scatter
from dit_scaling.laws.single_laws import SingleLaw, single_laws
from dit_scaling.losses.loss_names import HEADLINE

Array = NDArray[np.float64]
T = TypeVar("T")

APART = 1.4
"""Least ratio of two budgets that are read off exports at other steps."""
SLACK = 1.01
"""Budgets so near to a run's first or last export are at it: steps are whole numbers."""


@dataclass(frozen=True)
class Forward:
    """A budget that was not fitted: what the frontier says of it, and what was measured."""

    measured: Minimum
    size: Interval
    loss: Interval


@dataclass(frozen=True)
class Cell(PutToTest):
    """One size at a budget that was not fitted: what the additive law says of it, and the mean over its seeds."""

    variant: str
    flops: float
    predicted: Interval
    measured: float


@dataclass(frozen=True)
class Errors:
    """Errors of the additive law over the sizes of one budget that was not fitted."""

    flops: float
    sizes: int
    mean: float
    rms: float
    covered: int


@dataclass(frozen=True)
class StudyLaws:
    """What a study's table tells; a law that it does not tell has the reason in its place."""

    metric: str
    series: Series
    """The variants that the laws are of."""
    budgets: Grid | str
    """The values that the frontier was fitted to."""
    minima: tuple[Minimum, ...]
    """Of each fitted budget, interior or not; none where a budget has too few sizes."""
    frontier: Frontier | str
    images_exponent: Interval | None
    """Of the training images that the best size sees, by the frontier."""
    forward: tuple[Forward, ...]
    additive: AdditiveLaw | str
    cells: tuple[Cell, ...]
    """Budgets to predict, by the additive law."""
    single: tuple[SingleLaw, ...] | str


def fit_laws(table: pd.DataFrame, metric: str = HEADLINE, family: str | None = None) -> StudyLaws:
    """Fit what can be fitted to ``metric``: the frontier to budgets, the additive law to everything not to predict.

    Args:
        table: as `read_laws_table` gives it.
        metric: column of a loss or a distance.
        family: whose laws, as `one_series` chooses.

    Raises:
        UserError: as `check_metric` and `one_series`.
    """
    check_metric(table, metric)
    series = one_series(table, family)
    table = series.rows
    fitted, beyond = table[table["role"] != "predict"], table[table["role"] == "predict"]
    budgets = _attempt(lambda: budget_grid(fitted, metric))
    frontier = budgets if isinstance(budgets, str) else _attempt(partial(fit_frontier, budgets))
    grid, images = _grid_with_images(fitted, metric)
    additive = _attempt(lambda: fit_additive(grid, images))
    return StudyLaws(
        metric=metric,
        series=series,
        budgets=budgets,
        minima=() if isinstance(budgets, str) else minima_of(budgets),
        frontier=frontier,
        images_exponent=_images_exponent(frontier, table) if isinstance(frontier, Frontier) else None,
        forward=_forward(frontier, beyond, metric) if isinstance(frontier, Frontier) else (),
        additive=additive,
        cells=tuple(_cells(additive, scatter(grid)[0], beyond, metric)) if isinstance(additive, AdditiveLaw) else (),
        single=_attempt(lambda: tuple(single_laws(grid, images))),
    )


def summarise_cells(cells: Sequence[Cell]) -> list[Errors]:
    """Errors of each budget, ascending."""
    found = []
    for flops in sorted({cell.flops for cell in cells}):
        own = [cell for cell in cells if cell.flops == flops]
        errors = np.array([cell.error for cell in own])
        covered = sum(cell.covered for cell in own)
        found.append(Errors(flops, len(own), float(errors.mean()), float(np.sqrt(np.mean(errors**2))), covered))
    return found


def gflops_by_size(table: pd.DataFrame) -> tuple[float, float]:
    """Factor and exponent of Gflops ~ N^k through the sizes of a table: a straight line in logarithms."""
    known = table.groupby("variant")[["params", "gflops"]].first()
    slope, start = np.polyfit(np.log(known["params"]), np.log(known["gflops"]), 1)
    return float(np.exp(start)), float(slope)


def budget_grid(table: pd.DataFrame, metric: str) -> Grid:
    """The grid over budgets: those that the study names, else those that enough sizes have passed (`at_equal_compute`).

    Raises:
        UserError: as `grid_of`.
    """
    named = table.dropna(subset=["budget"])
    if len(named):
        return grid_of(named, metric, "budget")
    met = at_equal_compute(table, metric)
    return grid_of(table if met.empty else met, metric, "flops")


def at_equal_compute(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Values of all runs at the budgets that ``FEWEST_SIZES`` sizes or more have passed, between their own exports.

    Straight in logarithms between two exports of a run; nothing is continued beyond its first and last. Budgets are
    those of exports, ``APART`` or more apart. Empty where no budget was passed by enough sizes.
    """
    rows = table.dropna(subset=[metric]).sort_values("flops")
    runs = dict(iter(rows.groupby(["variant", "seed"])))
    reach = {key: (own["flops"].iloc[0] / SLACK, own["flops"].iloc[-1] * SLACK) for key, own in runs.items()}
    budgets: list[float] = []
    for flops in rows["flops"].unique():
        sizes = {variant for (variant, _), (low, high) in reach.items() if low <= flops <= high}
        if len(sizes) >= FEWEST_SIZES and (not budgets or flops >= APART * budgets[-1]):
            budgets.append(float(flops))
    found = []
    for (variant, seed), own in runs.items():
        inside = [flops for flops in budgets if reach[variant, seed][0] <= flops <= reach[variant, seed][1]]
        values = np.exp(np.interp(np.log(inside), np.log(own["flops"]), np.log(own[metric])))
        about = {"variant": variant, "seed": seed, "params": own["params"].iloc[0]}
        found += [{**about, "flops": flops, metric: value} for flops, value in zip(inside, values, strict=True)]
    return pd.DataFrame(found)


def _attempt(fit: Callable[[], T]) -> T | str:
    try:
        return fit()
    except UserError as error:
        return str(error)


def _grid_with_images(table: pd.DataFrame, metric: str) -> tuple[Grid, Array]:
    """The grid over budgets where all rows name one, else over images; and the images of each cell (S, B)."""
    named = bool(table["budget"].notna().all())
    grid = grid_of(table, metric, "budget" if named else "images")
    gflops = table.groupby("variant")["gflops"].first().loc[list(grid.names)].to_numpy(dtype=float)
    stops = np.broadcast_to(grid.stops, grid.means.shape)
    return grid, np.asarray(stops / (FLOPS_PER_GFLOP * gflops[:, None]) if named else stops)


def _images_exponent(frontier: Frontier, table: pd.DataFrame) -> Interval:
    """C is images times Gflops: what the best size's Gflops leave over of its growth."""
    size, slope = frontier.size_exponent, gflops_by_size(table)[1]
    return Interval(*(1 - slope * exponent for exponent in (size.value, size.high, size.low)))


def _forward(frontier: Frontier, beyond: pd.DataFrame, metric: str) -> tuple[Forward, ...]:
    if beyond.empty:
        return ()
    grid = grid_of(beyond, metric, "budget")
    seeds = int(grid.seeds.min())
    return tuple(Forward(minimum, *frontier.predict(minimum.flops, seeds)) for minimum in minima_of(grid))


def _cells(law: AdditiveLaw, run_sd: float, beyond: pd.DataFrame, metric: str) -> Iterator[Cell]:
    if beyond.empty:
        return
    grid, images = _grid_with_images(beyond, metric)
    for stop, size in np.argwhere(np.isfinite(grid.means).T):
        told = law.predict(grid.params[size], images[size, stop], run_sd, int(grid.seeds[size]))
        yield Cell(grid.names[size], float(grid.stops[stop]), told, float(np.exp(grid.means[size, stop])))
