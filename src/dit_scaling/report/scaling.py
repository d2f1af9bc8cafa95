"""Figures of the scaling itself: the metric against Gflops, parameters, training compute, and sizes."""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dit_scaling.claims.fits import PowerLawFit
from dit_scaling.diffusion.samplers import PAPER_SAMPLER
from dit_scaling.metrics.catalogue import INCEPTION
from dit_scaling.paper.published import table4
from dit_scaling.report.canvas import (
    Drawing,
    add_variant_legend,
    draw_points,
    draw_reference_levels,
    draw_series,
    pad_log,
    start_distance_axis,
    tabulate,
    use_log,
)
from dit_scaling.report.measurements import Measurements, fit_points
from dit_scaling.report.style import GREY, PALE, order_variants, style_variants

X_LABELS = {
    "gflops": "Gflops (1e9 multiply-adds of one forward pass)",
    "params_m": "parameters (millions)",
    "train_gflops": "training compute (1e9 multiply-adds)",
}
X_NAMES = {"gflops": "Gflops", "params_m": "params", "train_gflops": "compute"}
EXTRAPOLATION = 10.0
LARGEST_BUBBLE = 900.0  # square points
SAME_GFLOPS = 0.05  # relative; a paper variant on another latent grid has other Gflops and is another model


def draw_scaling(measured: Measurements) -> Drawing:
    """Figure 8: the metric against Gflops and against parameters, with Pearson's r of ln x and the metric."""
    figure = Figure(figsize=(8.6, 4.0), layout="constrained")
    drawn = [
        _draw_panel(axes, measured, x)
        for axes, x in zip(figure.subplots(1, 2, sharey=True), ("gflops", "params_m"), strict=True)
    ]
    styles = style_variants(measured.final)
    add_variant_legend(figure, styles, measured.final["series"].nunique())
    return Drawing(figure, pd.concat(drawn, ignore_index=True))


def _draw_panel(axes: Axes, measured: Measurements, x: str) -> pd.DataFrame:
    """One panel of figure 8, and what it shows."""
    points, styles, published = order_variants(measured.final), style_variants(measured.final), _published(measured)
    start_distance_axis(axes, measured, beside=published["value"].tolist())
    axes.set(xscale="log", ylabel=measured.label, xlabel=X_LABELS[x])
    if not published.empty:
        axes.plot(published[x], published["value"], "x", color=PALE, zorder=1)
        last = published.iloc[-1]
        axes.annotate(
            "paper, Table 4", (last[x], last["value"]), (0, -5), textcoords="offset points", ha="center", va="top"
        )
    fit = fit_points(points, x)
    curve = _predict(fit)
    _draw_fit(axes, curve)
    for _, rows in points.groupby("series", sort=False):
        draw_series(axes, rows, x, styles)
    draw_reference_levels(axes, measured)
    shown = [*points[x], *published[x]]
    axes.set_xlim(*pad_log(min(shown), max(shown)))
    use_log(axes.xaxis)
    axes.set_title(_describe_scaling(points, x, fit))
    return tabulate(measured, x, points=points, fit=curve, published=published).assign(panel=x)


def draw_compute(measured: Measurements) -> Drawing:
    """Figure 9: the metric against training compute at every step, with a power law through the last ones."""
    points, styles = measured.points.sort_values(["variant", "step"]), style_variants(measured.final)
    figure = Figure(figsize=(5.4, 4.4), layout="constrained")
    axes = figure.subplots()
    fit = fit_points(measured.final, "train_gflops")
    curve = _predict(fit, EXTRAPOLATION)
    start_distance_axis(axes, measured, beside=curve["y"].tolist())
    axes.set(xscale="log", ylabel=measured.label, xlabel=X_LABELS["train_gflops"])
    _draw_fit(axes, curve)
    for name in styles:
        rows = points[points["variant"] == name]
        axes.plot(rows["train_gflops"], rows["value"], color=styles[name].colour, linewidth=0.8)
        draw_points(axes, rows, "train_gflops", styles)
    draw_reference_levels(axes, measured)
    shown = [*points["train_gflops"], *curve["x"]]
    axes.set_xlim(*pad_log(min(shown), max(shown)))
    use_log(axes.xaxis)
    axes.set_title(_describe_scaling(measured.final, "train_gflops", fit))
    add_variant_legend(figure, styles, measured.final["series"].nunique())
    return Drawing(figure, tabulate(measured, "train_gflops", points=points, fit=curve))


def draw_bubbles(measured: Measurements) -> Drawing:
    """Figure 2: sizes across, the metric up, area proportional to Gflops; the only figure with every level to scale."""
    points, styles = order_variants(measured.final), style_variants(measured.final)
    series, patches = list(points["series"].unique()), sorted(points["patch"].dropna().unique(), reverse=True)
    figure = Figure(figsize=(5.4, 4.4), layout="constrained")
    axes = figure.subplots()
    start_distance_axis(axes, measured, whole=True)
    draw_reference_levels(axes, measured)
    for name, style in styles.items():
        row = points[points["variant"] == name].iloc[0]
        whole = pd.isna(row["patch"])
        aside = 0.0 if whole else 0.6 * ((patches.index(row["patch"]) + 0.5) / len(patches) - 0.5)
        place = series.index(row["series"]) + aside
        area = LARGEST_BUBBLE * row["gflops"] / points["gflops"].max()
        above = (0, math.sqrt(area / math.pi) + 3)
        axes.scatter(place, row["value"], s=area, color=style.colour, alpha=0.5, linewidths=0)
        axes.plot(place, row["value"], ".", color=style.colour, markersize=3)
        axes.annotate(
            "" if whole else f"/{row['patch']}", (place, row["value"]), above, textcoords="offset points", ha="center"
        )
    axes.set_xticks(range(len(series)), series)
    axes.set(xlim=(-0.6, len(series) - 0.4), xlabel="size; /p is the patch, area the Gflops", ylabel=measured.label)
    axes.grid(visible=False, axis="x")
    return Drawing(figure, tabulate(measured, "gflops", points=points))


def _predict(fit: PowerLawFit | None, beyond: float = 1.0) -> pd.DataFrame:
    """The fitted curve over the data and on to ``beyond`` times the largest x; empty without a fit."""
    if fit is None:
        return pd.DataFrame({"x": [], "y": [], "mean_low": [], "mean_high": [], "extrapolated": []}, dtype=float)
    return fit.predict(np.geomspace(fit.x_min, fit.x_max * beyond, 60))


def _draw_fit(axes: Axes, curve: pd.DataFrame) -> None:
    """The curve with its band, dotted where it is extrapolated."""
    if curve.empty:
        return
    outside = curve["extrapolated"].astype(bool)
    axes.plot(curve["x"][~outside], curve["y"][~outside], color=GREY, linewidth=1, zorder=1)
    axes.plot(curve["x"][outside], curve["y"][outside], color=GREY, linewidth=1, linestyle="dotted", zorder=1)
    axes.fill_between(curve["x"], curve["mean_low"], curve["mean_high"], color=GREY, alpha=0.12, linewidth=0, zorder=0)


def _describe_scaling(points: pd.DataFrame, x: str, fit: PowerLawFit | None) -> str:
    """Pearson's r of ln x and the metric, as the paper gives it, and the fit; nothing where they are undefined."""
    points = points[points["fitted"]]
    if fit is None or points["value"].nunique() < 2:
        return ""
    r = float(np.corrcoef(np.log(points[x]), points["value"])[0, 1])
    quality = "" if fit.r_squared is None else f", R² {fit.r_squared:.2f}"
    return (
        f"Pearson r of ln {X_NAMES[x]} and the distance: {r:+.2f} ({len(points)} variants)\n"
        f"fit: distance ∝ {X_NAMES[x]}^({fit.b:.2f} ± {fit.b_error:.2f}){quality}"
    )


def _published(measured: Measurements) -> pd.DataFrame:
    """Table 4 as points, where the metric is the FID of its sampler and a variant is on its latent grid."""
    paper = table4().rename(columns={"fid50k": "value", "steps": "step"})
    shared = measured.final.merge(paper, on="variant", suffixes=("", "_paper"))
    same = (shared["gflops"] / shared["gflops_paper"] - 1).abs() < SAME_GFLOPS
    same_sampler = bool((measured.rows["sampler"] == PAPER_SAMPLER).all())
    return paper if measured.features == INCEPTION and same_sampler and same.any() else paper.iloc[:0]
