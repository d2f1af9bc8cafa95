"""What figures are drawn from, and what drawing one gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dit_scaling.charts.panel import Panel
from dit_scaling.charts.scales import Unit
from dit_scaling.common.errors import UserError
from dit_scaling.report.measurements import Measurements
from dit_scaling.report.numbers import describe_distance
from dit_scaling.report.style import Style, order_variants, shorten, style_variants


@dataclass(frozen=True)
class Material:
    """The data of all figures.

    ``curves`` has variant, seed, step, loss, gradient_norm; ``beside`` are points of others, as
    ``added_points.read_points`` gives them; ``samplings`` are the runs sampled in other ways, as
    ``added_samplings.read_samplings`` gives them.
    """

    measured: Measurements
    curves: pd.DataFrame
    beside: pd.DataFrame = field(default_factory=pd.DataFrame)
    samplings: Sequence[pd.DataFrame] = ()

    @cached_property
    def styles(self) -> Mapping[str, Style]:
        return style_variants(self.measured.final)

    @cached_property
    def short(self) -> Mapping[str, str]:
        """Names of variants and series as figures write them."""
        final = order_variants(self.measured.final)
        return shorten([*final["variant"], *final["series"].unique()])


@dataclass(frozen=True)
class Drawn:
    """A figure: its finding, what is drawn, one chart a panel, and the data drawn.

    Without panels the finding is a sentence that stands in place of a figure with too few points to draw.
    """

    finding: str
    text: str
    panels: tuple[Panel, ...]
    data: pd.DataFrame


def read_curves(path: Path) -> pd.DataFrame:
    """Training curves, one row per variant, seed and logged step.

    Raises:
        UserError: the file is missing, no CSV, or lacks a column.
    """
    try:
        curves = pd.read_csv(path)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist. Run: snakemake --until aggregate.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as CSV ({error}). Run: snakemake --forcerun aggregate.") from None
    missing = {"variant", "seed", "step", "loss", "gradient_norm"} - set(curves.columns)
    if missing:
        raise UserError(f"{path} has no column {', '.join(sorted(missing))}. Run: snakemake --forcerun aggregate.")
    return curves


def tabulate(
    measured: Measurements,
    x: str,
    *,
    points: pd.DataFrame,
    fit: pd.DataFrame | None = None,
    published: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """All that a figure shows as one table: kind, variant, series, patch, step, runs, ``x``, the metric, low, high."""
    kept = list(dict.fromkeys(["kind", "variant", "series", "patch", "step", "runs", x, "value", "low", "high"]))
    levels = [{"kind": level.kind, "variant": level.label, "value": level.value} for level in measured.levels]
    parts = [points.assign(kind="variant"), pd.DataFrame(levels)]
    if fit is not None and not fit.empty:
        kind = np.where(fit["extrapolated"], "extrapolated fit", "fit")
        band = {"x": x, "y": "value", "mean_low": "low", "mean_high": "high"}
        parts.append(fit[list(band)].rename(columns=band).assign(kind=kind))
    if published is not None and not published.empty:
        parts.append(published.assign(kind="published"))
    table = pd.concat([part for part in parts if not part.empty], ignore_index=True)
    return table.reindex(columns=kept).rename(columns={"value": measured.metric})


def rows_of(points: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table, each by the names of its columns."""
    found: list[dict[str, Any]] = points.to_dict("records")  # type: ignore[assignment]  # column names are texts
    return found


def best_of(points: pd.DataFrame) -> dict[str, Any]:
    """The row of the lowest distance."""
    return min(rows_of(points), key=lambda row: float(row["value"]))


def tell(row: Mapping[str, Any], name: str, seeds: list[float], compute: Unit, weights: Unit) -> tuple[str, ...]:
    """What a reader gets on a point, line by line."""
    lines = [
        f"{name}: {describe_distance(row['value'])}",
        f"95% interval {describe_distance(row['low'])} to {describe_distance(row['high'])}",
    ]
    if len(seeds) > 1:
        lines.append(f"seeds {', '.join(describe_distance(seed) for seed in seeds)}")
    lines.append(f"{compute.of(1e9 * row['gflops'])} multiply-adds a forward pass")
    lines.append(f"{weights.of(1e6 * row['params_m'])} parameters")
    lines.append(f"step {row['step']:,.0f}")
    return tuple(lines)


def seeds_of(measured: Measurements, variant: str, step: float) -> list[float]:
    """The distances of a variant's seeds at a step, in the table's order."""
    rows = measured.rows
    found = rows.loc[(rows["variant"] == variant) & (rows["step"] == step), measured.metric]
    return [float(value) for value in found]
