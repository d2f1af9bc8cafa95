"""The paper's Table 4 beside the study's own points, each on its own scale."""

import numpy as np
import pandas as pd

from dit_scaling.charts.panel import Line, Panel, Point
from dit_scaling.charts.scales import choose_unit, log_scale
from dit_scaling.paper.published import table4
from dit_scaling.report.figures.axes import distance_scale, distance_title
from dit_scaling.report.figures.material import Drawn, Material, rows_of
from dit_scaling.report.measurements import estimate_points
from dit_scaling.report.numbers import describe_distance
from dit_scaling.report.style import order_variants, shorten, style_variants
from dit_scaling.variants import training_gflops

BATCH, LATENT = 256, 32


def published_points() -> pd.DataFrame:
    """Table 4 as points of a figure; their intervals are those of the published spread between reproductions."""
    paper = table4().rename(columns={"steps": "step"})
    trained = zip(paper["gflops"], paper["step"], strict=True)
    paper["train_gflops"] = [training_gflops(gflops, BATCH * step) for gflops, step in trained]
    return estimate_points(paper.assign(tokens=(LATENT // paper["patch"]) ** 2), "fid50k")


def draw_published(material: Material) -> Drawn:
    """The distance against Gflops, first of Table 4, then of the study."""
    measured = material.measured
    sources = {"The paper’s Table 4": published_points(), "This study": measured.final}
    titles = {"The paper’s Table 4": "FID-50K", "This study": distance_title(measured)}
    styles = style_variants(pd.concat(sources.values(), ignore_index=True))
    panels = []
    for source, points in sources.items():
        ordered, short = order_variants(points), shorten([*points["variant"], *points["series"]])
        unit = choose_unit(list(1e9 * ordered["gflops"]))
        factor = 1e9 / unit.size
        panel = Panel(
            said=f"{source}: distance against Gflops",
            x=log_scale(factor * ordered["gflops"]),
            y=distance_scale(ordered),
            x_title=f"{unit.word} multiply-adds of one forward pass".strip().capitalize(),
            y_title=f"{source}: {titles[source]}",
            right=26.0,
        )
        for name, members in ordered.groupby("series", sort=False):
            columns = zip(members["variant"], factor * members["gflops"], members["value"], strict=True)
            panel.add_line(Line(tuple(columns), styles[str(members["variant"].iloc[0])].hue, short[str(name)]))
        panel.add_points(
            [
                Point(
                    row["variant"],
                    factor * row["gflops"],
                    row["value"],
                    styles[row["variant"]].hue,
                    styles[row["variant"]].shape,
                    (f"{source}, {short[row['variant']]}: {describe_distance(row['value'])}",),
                    row["low"],
                    row["high"],
                )
                for row in rows_of(ordered)
            ]
        )
        panels.append(panel)
    kept = ["source", "variant", "series", "patch", "params_m", "gflops", "metric", "value", "low", "high"]
    data = [
        points.assign(source=source, metric=metric)
        for (source, points), metric in zip(sources.items(), ("fid50k", measured.metric), strict=True)
    ]
    theirs, ours = (_correlate(points) for points in sources.values())
    here = "cannot be computed here" if ours is None else f"is {ours:+.2f} here"
    finding = f"The correlation of distance and ln Gflops {here}, {theirs:+.2f} in the paper".replace("-", "−")
    return Drawn(
        finding,
        "Each on its own scale: the distances share no axis, as protocols differ.",
        tuple(panels),
        pd.concat(data, ignore_index=True)[kept],
    )


def _correlate(points: pd.DataFrame) -> float | None:
    """Pearson's r of ln Gflops and the distance over the fitted points; None where it is undefined."""
    fitted = points[points["fitted"]]
    if len(fitted) < 3 or fitted["gflops"].nunique() < 2 or fitted["value"].nunique() < 2:
        return None
    return float(np.corrcoef(np.log(fitted["gflops"]), fitted["value"])[0, 1])
