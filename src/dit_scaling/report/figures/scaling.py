"""The main figure: the distance against Gflops and against parameters, as the paper's figure 8."""

from itertools import pairwise

import numpy as np
import pandas as pd

from dit_scaling.charts.panel import Line, Panel, Point
from dit_scaling.charts.scales import choose_unit, log_scale
from dit_scaling.claims.fits import PowerLawFit
from dit_scaling.common.words import count, listing, number_word
from dit_scaling.diffusion.samplers import PAPER_SAMPLER
from dit_scaling.metrics.catalogue import INCEPTION
from dit_scaling.paper.published import table4
from dit_scaling.report.figures.axes import (
    add_levels,
    distance_scale,
    distance_title,
    mark_points,
    series_lines,
)
from dit_scaling.report.figures.material import Drawn, Material, best_of, rows_of, tabulate
from dit_scaling.report.measurements import Measurements, fit_points
from dit_scaling.report.numbers import describe_distance, describe_r2
from dit_scaling.report.style import order_variants

SAME_GFLOPS = 0.05  # relative; a paper variant on another latent grid has other Gflops and is another model
MOST_NAMED = 2  # exceptions that a title has room for
SCALED = {"gflops": (1e9, "multiply-adds of one forward pass"), "params_m": (1e6, "parameters")}


def draw_scaling(material: Material) -> Drawn:
    """One panel against Gflops, one against parameters; lines join the patches of a size."""
    drawn = [_draw_panel(material, x) for x in SCALED]
    return Drawn(
        finding=describe_trend(material),
        text=f"Bars: 95% intervals; dots: single seeds; dashed: power law.{_describe_correlations(material.measured)}",
        panels=tuple(panel for panel, _ in drawn),
        data=pd.concat([data for _, data in drawn], ignore_index=True),
    )


def describe_trend(material: Material) -> str:
    """The finding: whether more Gflops go with a lower distance at each size, and where they do not."""
    points = order_variants(material.measured.final)
    worse, steps = [], 0
    for _, members in points.groupby("series", sort=False):
        for before, after in pairwise(rows_of(members.sort_values("gflops"))):
            steps += 1
            if after["value"] >= before["value"]:
                worse.append(f"{material.short[before['variant']]} to {material.short[after['variant']]}")
    best = material.short[best_of(points)["variant"]]
    lowest = f"{best} has the lowest distance, {describe_distance(float(points['value'].min()))}"
    if not steps:
        return lowest
    if not worse:
        return "More compute lowers the distance at every size"
    if len(worse) == steps:
        return "More compute doesn’t lower the distance at any size"
    if len(worse) <= MOST_NAMED:
        return f"More compute lowers the distance, but not from {listing(worse)}"
    return f"At equal size, more compute lowers the distance in {steps - len(worse)} of {count(steps, 'step')}"


def _draw_panel(material: Material, x: str) -> tuple[Panel, pd.DataFrame]:
    measured = material.measured
    points, published = order_variants(measured.final), published_beside(measured)
    size, words = SCALED[x]
    beside = pd.concat([published, material.beside], ignore_index=True)
    shown = [*points[x], *beside.get(x, pd.Series(dtype=float)).dropna()]
    unit = choose_unit([size * value for value in shown])
    factor = size / unit.size
    seeds = measured.rows.loc[measured.rows["step"] == points["step"].iloc[0], measured.metric]
    others = [*seeds, *beside.get("value", pd.Series(dtype=float))]
    panel = Panel(
        said=f"{distance_title(measured)} against {words}; arrow keys go from point to point",
        x=log_scale([factor * value for value in shown]),
        y=distance_scale(points, others),
        x_title=f"{unit.word} {words}".strip().capitalize(),
        y_title=distance_title(measured),
        right=26.0,
    )
    add_levels(panel, measured)
    fit = fit_points(points, x)
    curve = predict(fit)
    add_fit(panel, fit, curve, factor)
    for line in series_lines(material, points, x, factor):
        panel.add_line(line)
    panel.add_points(mark_points(material, points, x, factor, labels=True))
    panel.add_points(mark_others(published, x, factor, "paper’s "))
    panel.add_points(mark_others(material.beside, x, factor, "", labels=True))
    return panel, tabulate(measured, x, points=points, fit=curve, published=beside).assign(panel=x)


def add_fit(panel: Panel, fit: PowerLawFit | None, curve: pd.DataFrame, factor: float) -> None:
    """A power law with the band of its curve, cut to the panel's axis."""
    if fit is None:
        return
    low, high = panel.y.low, panel.y.high
    inside = curve[(curve["y"] > low) & (curve["y"] < high)]
    if len(inside) < 2:
        return
    xs = [float(x) * factor for x in inside["x"]]
    bounds = [inside[name].clip(low, high) for name in ("mean_low", "mean_high")]
    panel.add_band(*(list(zip(xs, map(float, bound), strict=True)) for bound in bounds))
    places = tuple(("fit", x, float(y)) for x, y in zip(xs, inside["y"], strict=True))
    quality = "" if fit.r_squared is None else f"R² {describe_r2(fit.r_squared)}"
    panel.add_line(Line(places, "", quality, kind="trend"))


def mark_others(others: pd.DataFrame, x: str, factor: float, prefix: str, *, labels: bool = False) -> list[Point]:
    """Points of others in grey, with their names on hover, and beside them where asked."""
    if others.empty:
        return []
    return [
        Point(
            f"{prefix}{row['variant']}",
            row[x] * factor,
            row["value"],
            "other",
            4,
            (f"{prefix}{row['variant']}: {describe_distance(row['value'])}",),
            label=str(row["variant"]) if labels else "",
        )
        for row in rows_of(others.dropna(subset=[x]))
    ]


def predict(fit: PowerLawFit | None) -> pd.DataFrame:
    """The fitted curve over the data; empty without a fit."""
    if fit is None:
        return pd.DataFrame({"x": [], "y": [], "mean_low": [], "mean_high": [], "extrapolated": []}, dtype=float)
    return fit.predict(np.geomspace(fit.x_min, fit.x_max, 60))


def _describe_correlations(measured: Measurements) -> str:
    """Pearson's r of ln x and the distance, as the paper gives it; nothing where it is undefined."""
    points = measured.final[measured.final["fitted"]]
    if fit_points(points, "gflops") is None or points["value"].nunique() < 2 or points["params_m"].nunique() < 2:
        return ""
    r = {x: float(np.corrcoef(np.log(points[x]), points["value"])[0, 1]) for x in ("gflops", "params_m")}
    return (
        f" Pearson’s r of the distance with ln Gflops {r['gflops']:+.2f}, with ln parameters {r['params_m']:+.2f} "
        f"({number_word(len(points))} variants)."
    ).replace("-", "−")


def published_beside(measured: Measurements) -> pd.DataFrame:
    """Table 4 as points, where the metric is the FID of its sampler and a variant is on its latent grid."""
    paper = table4().rename(columns={"fid50k": "value", "steps": "step"})
    shared = measured.final.merge(paper, on="variant", suffixes=("", "_paper"))
    same = (shared["gflops"] / shared["gflops_paper"] - 1).abs() < SAME_GFLOPS
    same_sampler = bool((measured.rows["sampler"] == PAPER_SAMPLER).all())
    return paper if measured.features == INCEPTION and same_sampler and same.any() else paper.iloc[:0]
