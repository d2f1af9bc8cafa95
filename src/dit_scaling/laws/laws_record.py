"""Laws as plain values, with every number that their words have."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from dit_scaling.laws.additive import AdditiveLaw
from dit_scaling.laws.backtest import Prediction, summarise, tabulate
from dit_scaling.laws.frontier import LEVEL, Frontier, Interval, Minimum
from dit_scaling.laws.run_grid import Grid
from dit_scaling.laws.study_laws import StudyLaws, summarise_cells


def laws_record(laws: StudyLaws) -> dict[str, Any]:
    """The laws of a study. A law that it does not tell is ``{"refused": reason}``; None is a number not identified."""
    single = laws.single
    return {
        "metric": laws.metric,
        "family": laws.series.family,
        "patch": int(laws.series.patch) if laws.series.patch else None,
        "left_out": list(laws.series.left_out),
        "level": LEVEL,
        "measured": [] if isinstance(laws.budgets, str) else _measured(laws.budgets),
        "minima": [_minimum(minimum) for minimum in laws.minima],
        "frontier": _frontier(laws),
        "additive": _additive(laws),
        "single": {"refused": single}
        if isinstance(single, str)
        else [{**asdict(law), "exponent": _exponent(law.exponent)} for law in single],
    }


def backtest_record(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """All predictions, and a summary per test."""
    summary = summarise(predictions).rename(columns=lambda name: name.replace(" ", "_"))
    return {"level": LEVEL, "tests": _rows(summary), "predictions": _rows(tabulate(predictions))}


def _rows(table: Any) -> list[dict[str, Any]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.to_numpy(dtype=object).tolist()]


def _measured(grid: Grid) -> list[dict[str, Any]]:
    return [
        {
            "flops": float(grid.stops[stop]),
            "variant": grid.names[size],
            "params": float(grid.params[size]),
            "seeds": int(grid.seeds[size]),
            "value": float(np.exp(grid.means[size, stop])),
        }
        for stop, size in np.argwhere(np.isfinite(grid.means).T)
    ]


def _exponent(exponent: Interval) -> dict[str, float] | None:
    return asdict(exponent) if exponent.identified else None


def _minimum(minimum: Minimum) -> dict[str, Any]:
    """A vertex that is not inside the sizes measured has no numbers."""
    inside = minimum.interior
    return {
        "flops": minimum.flops,
        "sizes": minimum.sizes,
        "interior": inside,
        "params": minimum.params if inside else None,
        "value": minimum.loss if inside else None,
    }


def _frontier(laws: StudyLaws) -> dict[str, Any]:
    frontier = laws.frontier
    if not isinstance(frontier, Frontier):
        return {"refused": frontier}
    return {
        "size_exponent": _exponent(frontier.size_exponent),
        "loss_exponent": _exponent(frontier.loss_exponent),
        "images_exponent": _exponent(laws.images_exponent) if laws.images_exponent else None,
        "run_sd": frontier.run_sd,
        "df": frontier.df,
        "pooled": frontier.pooled,
        "forward": [
            {
                "times_largest": forward.measured.flops / frontier.largest,
                "measured": _minimum(forward.measured),
                "size": asdict(forward.size),
                "value": asdict(forward.loss),
            }
            for forward in laws.forward
        ],
    }


def _additive(laws: StudyLaws) -> dict[str, Any]:
    law = laws.additive
    if not isinstance(law, AdditiveLaw):
        return {"refused": law}
    return {
        "residual": law.law.residual,
        "parameters": {each.name: asdict(each.interval) if each.interval else None for each in law.parameters},
        "size_exponent": _exponent(law.size_exponent),
        "forward": [{**asdict(cell), "error": cell.error, "covered": cell.covered} for cell in laws.cells],
        "forward_errors": [asdict(errors) for errors in summarise_cells(laws.cells)],
    }
