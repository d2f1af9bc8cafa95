"""Measured values of runs on a grid of sizes, seeds and stops (training compute, or images)."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from dit_scaling.common.errors import UserError

Array = NDArray[np.float64]

NEAR = 0.01
"""Stops within so large a share of each other are one: steps are whole numbers."""
DOUBT = 0.05
"""P-value of Bartlett's test below which sizes are not taken to scatter alike."""


@dataclass(frozen=True)
class Grid:
    """ln value of every run at every stop; NaN where a run was not measured."""

    names: tuple[str, ...]
    """Of the S sizes, ascending in parameters."""
    params: Array
    """(S,)"""
    stops: Array
    """(B,) ascending: training FLOPs, or images."""
    ln_value: Array
    """(S, R, B): sizes, seeds, stops."""

    @property
    def means(self) -> Array:
        """(S, B) mean over seeds, NaN where a size was not measured."""
        counts = np.isfinite(self.ln_value).sum(axis=1)
        sums = np.nansum(self.ln_value, axis=1)
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)

    @property
    def seeds(self) -> NDArray[np.int64]:
        """(S,) runs of each size."""
        return np.asarray(np.isfinite(self.ln_value).any(axis=2).sum(axis=1), dtype=np.int64)


def grid_of(table: pd.DataFrame, value: str, stop: str = "flops") -> Grid:
    """The grid of a table with a row per run and stop: variant, seed, params, ``stop`` and ``value``.

    Raises:
        UserError: there is no row with a value, a value is not positive, or a run stands twice at one stop.
    """
    rows = table.dropna(subset=[value, stop])
    if rows.empty or not (rows[value] > 0).all():
        raise UserError(f"Laws need positive values of '{value}', a row per run and stop: there are none, or others.")
    sizes = rows.groupby("variant")["params"].first().sort_values()
    stops = _cluster(rows[stop].to_numpy(dtype=float))
    seeds = {str(name): sorted(set(own["seed"])) for name, own in rows.groupby("variant")}
    names = tuple(map(str, sizes.index))
    values = np.full((len(sizes), max(map(len, seeds.values())), len(stops)), np.nan)
    for name, seed, at, measured in zip(rows["variant"], rows["seed"], rows[stop], rows[value], strict=True):
        place = names.index(name), seeds[name].index(seed), int(np.argmin(np.abs(np.log(stops / at))))
        if np.isfinite(values[place]):
            raise UserError(f"{name} seed {seed} stands twice at {stop} {at:.4g}.")
        values[place] = np.log(measured)
    return Grid(names, sizes.to_numpy(dtype=float), stops, values)


def resampled_means(grid: Grid, replicates: int, seed: int = 0) -> Array:
    """(replicates, S, B) means as other seeds would give them: deviations of whole runs are drawn again.

    A run's deviation from its size's mean, at all stops together, is scaled by sqrt(n / (n - 1)). Each size draws as
    many runs as it has, from those of all sizes that were measured at its stops, where Bartlett's test does not doubt
    that sizes scatter alike, else from its own. What is drawn is scaled by sqrt(df / chi^2), as df degrees of freedom
    tell a scatter no better.

    Raises:
        UserError: a size has one seed and cannot borrow the deviations of others.
    """
    rng, means = np.random.default_rng(seed), grid.means
    deviations = _deviations(grid)
    pooled = pools(grid)
    df = scatter(grid)[1]
    factor = np.sqrt(df / rng.chisquare(df, size=(replicates, 1))) if df else np.ones((replicates, 1))
    drawn = np.empty((replicates, *means.shape))
    for size, count in enumerate(grid.seeds):
        there = np.isfinite(means[size])
        own = np.zeros(len(grid.names), dtype=bool)
        own[size] = True
        donors = deviations[own | pooled].reshape(-1, deviations.shape[2])
        donors = donors[np.isfinite(donors[:, there]).all(axis=1)]
        if len(donors) < 2:
            if grid.seeds.max() < 2:
                raise UserError("Every size has one seed, so nothing tells how runs scatter: run more seeds.")
            raise UserError(f"{grid.names[size]} has one seed, and no other size was measured at its stops: run more.")
        picked = donors[rng.integers(len(donors), size=(replicates, count))]  # (replicates, n, B)
        if not pooled:
            factor = np.sqrt((count - 1) / rng.chisquare(count - 1, size=(replicates, 1)))
        drawn[:, size] = means[size] + factor * picked.mean(axis=1)
    return drawn


def pools(grid: Grid) -> bool:
    """Whether deviations are pooled over sizes, by Bartlett's test at each size's last stop."""
    last = []
    for size in range(len(grid.names)):
        there = np.flatnonzero(np.isfinite(grid.ln_value[size]).any(axis=0))
        values = grid.ln_value[size, :, there[-1]]
        last.append(values[np.isfinite(values)])
    several = [values for values in last if len(values) > 1]
    if len(several) < 2:
        return True
    return all(np.ptp(values) > 0 for values in several) and bool(stats.bartlett(*several).pvalue >= DOUBT)


def scatter(grid: Grid) -> tuple[float, int]:
    """Standard deviation of ln value of one run at the last stop of its size, pooled, and its degrees of freedom."""
    deviations, squares, df = grid.ln_value - grid.means[:, None], 0.0, 0
    for size, count in enumerate(grid.seeds):
        last = np.flatnonzero(np.isfinite(grid.means[size]))[-1]
        squares += float(np.nansum(deviations[size, :, last] ** 2))
        df += int(count) - 1
    return float(np.sqrt(squares / df)) if df else float("nan"), df


def _deviations(grid: Grid) -> Array:
    """(S, R, B) deviations from the size's mean, scaled to those of one run; NaN for a size with one seed."""
    counts = np.isfinite(grid.ln_value).sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.where(counts > 1, np.sqrt(counts / (counts - 1)), np.nan)
    return np.asarray((grid.ln_value - grid.means[:, None]) * scale)


def _cluster(values: Array) -> Array:
    """Ascending representatives of values that agree within ``NEAR``."""
    found: list[list[float]] = []
    for value in np.sort(values):
        if found and value <= found[-1][0] * (1 + NEAR):
            found[-1].append(float(value))
        else:
            found.append([float(value)])
    return np.array([float(np.exp(np.mean(np.log(group)))) for group in found])
