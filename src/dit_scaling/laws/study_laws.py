"""The laws of one study, from its table of losses or of metrics."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dit_scaling.common.errors import UserError
from dit_scaling.config.laws_settings import FLOPS_PER_GFLOP
from dit_scaling.laws.additive import AdditiveLaw, fit_additive
from dit_scaling.laws.frontier import FEWEST_SIZES, Frontier, Interval, Minimum, fit_frontier, minima_of
from dit_scaling.laws.run_grid import Grid, grid_of
from dit_scaling.laws.single_laws import SingleLaw, single_laws
from dit_scaling.losses.loss_names import HEADLINE

Array = NDArray[np.float64]
T = TypeVar("T")

APART = 1.4
"""Least ratio of two budgets that are read off exports at other steps."""
SLACK = 1.01
"""Budgets so near to a run's first or last export are at it: steps are whole numbers."""

COLUMNS = ("variant", "seed", "step", "params", "gflops", "flops", "images", "budget", "role")


@dataclass(frozen=True)
class Forward:
    """A budget that was not fitted: what the frontier says of it, and what was measured."""

    measured: Minimum
    size: Interval
    loss: Interval


@dataclass(frozen=True)
class StudyLaws:
    """What a study's table tells; a law that it does not tell has the reason in its place."""

    metric: str
    table: pd.DataFrame
    frontier: Frontier | str
    forward: tuple[Forward, ...]
    additive: AdditiveLaw | str
    single: tuple[SingleLaw, ...] | str


def read_laws_table(results: Path) -> pd.DataFrame:
    """The table of a folder of results, a row per run and export: ``COLUMNS`` and the metrics, of one patch.

    Of several patches the one with most sizes is taken; budgets are empty where a study names none.

    Raises:
        UserError: the folder holds no such table.
    """
    losses, metrics = results / "losses.csv", results / "metrics.parquet"
    if losses.is_file():
        table = pd.read_csv(losses, keep_default_na=False, na_values=[""]).fillna({"role": ""})
    elif metrics.is_file():
        table = _of_metrics(pd.read_parquet(metrics))
    else:
        raise UserError(f"{results} holds no losses.csv and no metrics.parquet. Give the folder of a finished study.")
    patches = table["variant"].str.partition("/")[2]
    sizes = table.groupby(patches)["variant"].nunique()
    return table[patches == sizes.idxmax()].reset_index(drop=True)


def fit_laws(table: pd.DataFrame, metric: str = HEADLINE) -> StudyLaws:
    """Fit what can be fitted to ``metric``: the frontier to budgets, the additive law to everything not to predict.

    Raises:
        UserError: the table has no such column.
    """
    if metric not in table.columns:
        raise UserError(f"The table has no column {metric}: its losses were not measured.")
    fitted = table[table["role"] != "predict"]
    frontier = _attempt(lambda: fit_frontier(budget_grid(fitted, metric)))
    forward = _forward(frontier, table, metric) if isinstance(frontier, Frontier) else ()
    grid, images = _grid_with_images(fitted, metric)
    additive = _attempt(lambda: fit_additive(grid, images))
    return StudyLaws(metric, table, frontier, forward, additive, _attempt(lambda: tuple(single_laws(grid, images))))


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


def _forward(frontier: Frontier, table: pd.DataFrame, metric: str) -> tuple[Forward, ...]:
    beyond = table[table["role"] == "predict"]
    if beyond.empty:
        return ()
    grid = grid_of(beyond, metric, "budget")
    seeds = int(grid.seeds.min())
    return tuple(Forward(minimum, *frontier.predict(minimum.flops, seeds)) for minimum in minima_of(grid))


def _of_metrics(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the first guidance scale under the names of the table of losses."""
    rows: pd.DataFrame = table[table["guidance_scale"] == table["guidance_scale"].iloc[0]]
    flops = 2e9 * rows["train_gflops"]  # a multiply-add is two operations
    named = rows.assign(params=1e6 * rows["params_m"], flops=flops, images=rows["images_seen"])
    return named.assign(budget=np.nan, role="")
