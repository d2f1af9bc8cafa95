"""Figures over the course of training: the metric, the loss and the gradient norm against steps."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from dit_scaling.common.errors import UserError
from dit_scaling.report.canvas import (
    Drawing,
    add_variant_legend,
    draw_reference_levels,
    draw_series,
    start_distance_axis,
    tabulate,
    use_log,
)
from dit_scaling.report.measurements import Measurements
from dit_scaling.report.style import order_variants, style_variants

CURVE_POINTS = 60  # bins of a loss curve: enough to see, small enough to put in a page


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


def draw_steps(measured: Measurements) -> Drawing:
    """Figure 6: the metric against steps, at fixed patch above and at fixed size below."""
    points, styles = measured.points.sort_values(["variant", "step"]), style_variants(measured.final)
    variants = order_variants(measured.final)
    series = list(variants["series"].unique())
    patches = list(variants["patch"].dropna().sort_values(ascending=False).unique())
    columns = max(len(series), len(patches))
    figure = Figure(figsize=(8.6, 5.6), layout="constrained")
    grid = figure.subplots(2, columns, sharex=True, sharey=True, squeeze=False)
    panels = (
        [("patch", patch, f"patch {patch}") for patch in patches],
        [("series", member, member) for member in series],
    )
    for row, titled in zip(grid, panels, strict=True):
        for axes in row[len(titled) :]:
            axes.set_visible(False)
        for axes, (column, value, title) in zip(row, titled, strict=False):
            start_distance_axis(axes, measured)
            for name in variants.loc[(variants[column] == value).fillna(False), "variant"]:
                draw_series(axes, points[points["variant"] == name], "step", styles)
            draw_reference_levels(axes, measured, labels=axes is row[0])
            axes.set_title(title)
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    figure.supylabel(measured.label, fontsize=9)
    for axes in grid[1]:
        axes.set_xlabel("training steps")
    add_variant_legend(figure, styles, len(series))
    return Drawing(figure, tabulate(measured, "step", points=points))


def draw_losses(curves: pd.DataFrame, measured: Measurements) -> Drawing:
    """Figure 13: training loss, and the gradient norm, against steps."""
    styles = style_variants(measured.final)
    binned = bin_curves(curves)
    figure = Figure(figsize=(8.6, 3.8), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, column, label in zip(
        panels, ("loss", "gradient_norm"), ("loss (MSE + vb)", "gradient norm"), strict=True
    ):
        for name, style in styles.items():
            rows = binned[binned["variant"] == name]
            axes.plot(rows["step"], rows[column], color=style.colour, linestyle=style.dash, linewidth=1)
        axes.set(yscale="log", xlabel="training steps", ylabel=label)
        if not binned.empty:
            use_log(axes.yaxis)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    add_variant_legend(figure, styles, measured.final["series"].nunique(), lines=True)
    return Drawing(figure, binned)


def bin_curves(curves: pd.DataFrame) -> pd.DataFrame:
    """Means of step, loss and gradient norm over at most ``CURVE_POINTS`` equal stretches of steps, and over seeds."""
    width = max(1, -(-int(curves["step"].max()) // CURVE_POINTS)) if len(curves) else 1
    stretch = (curves["step"] - 1) // width
    grouped = curves.groupby(["variant", stretch.rename("stretch")], sort=False)
    means = grouped[["step", "loss", "gradient_norm"]].mean()
    return means.reset_index().drop(columns="stretch").sort_values(["variant", "step"], ignore_index=True)
