"""The held-out loss of a study: against training compute beside the training loss, and against the headline metric."""

import pandas as pd
from matplotlib.figure import Figure

from dit_scaling.losses.loss_names import HEADLINE, TRAINING
from dit_scaling.report.canvas import Drawing, add_variant_legend, pad_log, use_log
from dit_scaling.report.measurements import Measurements
from dit_scaling.report.style import style_variants

COLUMNS = ["variant", "step", "train_gflops", HEADLINE, f"{HEADLINE}_se", TRAINING]


def tabulate_losses(measured: Measurements) -> pd.DataFrame:
    """Losses by variant and step, means over seeds, beside the metric; no rows where none were measured.

    Standard errors are over images, which are the same for all variants: differences of two variants are much surer.
    """
    rows = measured.rows
    if not {HEADLINE, TRAINING} <= set(rows.columns):
        return pd.DataFrame(columns=[*COLUMNS, measured.metric])
    means = rows.dropna(subset=[HEADLINE]).groupby(["variant", "step"], sort=False)[COLUMNS[2:]].mean().reset_index()
    points = measured.points[["variant", "step", "value"]].rename(columns={"value": measured.metric})
    return means.merge(points, on=["variant", "step"])


def draw_held_out(measured: Measurements) -> Drawing:
    """Left, held-out and training loss against training compute; right, the metric against the held-out loss."""
    table, styles = tabulate_losses(measured), style_variants(measured.final)
    figure = Figure(figsize=(8.6, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    if table.empty:
        for axes in (left, right):
            axes.text(0.5, 0.5, "not measured: no latents of held-out images", ha="center", transform=axes.transAxes)
            axes.set_axis_off()
        return Drawing(figure, table)
    for name, style in styles.items():
        rows = table[table["variant"] == name].sort_values("step")
        about = {"color": style.colour, "marker": style.marker, "markersize": 5, "linewidth": 0.8}
        left.plot(rows["train_gflops"], rows[HEADLINE], linestyle=style.dash, **about)
        left.plot(rows["train_gflops"], rows[TRAINING], linestyle="none", markerfacecolor="none", **about)
        right.plot(rows[HEADLINE], rows[measured.metric], linestyle=style.dash, **about)
    left.set(xscale="log", yscale="log", xlabel="training compute (Gflops)", ylabel="squared error of the noise")
    right.set(xscale="log", yscale="log", xlabel="held-out loss", ylabel=measured.label)
    for axes in (left, right):
        axes.set_xlim(pad_log(*axes.get_xlim()))
        for axis in (axes.xaxis, axes.yaxis):
            use_log(axis)
    add_variant_legend(figure, styles, measured.final["series"].nunique())
    return Drawing(figure, table)
