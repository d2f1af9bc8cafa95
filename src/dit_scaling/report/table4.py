"""The paper's Table 4 beside the study's own points, each on its own scale."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dit_scaling.paper.published import table4
from dit_scaling.report.canvas import Drawing, add_variant_legend, draw_series, pad_log, use_log
from dit_scaling.report.measurements import Measurements, estimate_points
from dit_scaling.report.style import order_variants, style_variants
from dit_scaling.variants import training_gflops

BATCH, LATENT = 256, 32


def published_points() -> pd.DataFrame:
    """Table 4 as points of a figure; their intervals are those of the published spread between reproductions."""
    paper = table4().rename(columns={"steps": "step"})
    trained = zip(paper["gflops"], paper["step"], strict=True)
    paper["train_gflops"] = [training_gflops(gflops, BATCH * step) for gflops, step in trained]
    return estimate_points(paper.assign(tokens=(LATENT // paper["patch"]) ** 2), "fid50k")


def draw_published(measured: Measurements) -> Drawing:
    """The distance against Gflops, left of Table 4, right of the study."""
    sources = {"the paper's Table 4": published_points(), "this study": measured.final}
    labels = ("FID-50K", measured.label)
    styles = style_variants(pd.concat(sources.values(), ignore_index=True))
    figure = Figure(figsize=(8.6, 4.2), layout="constrained")
    for axes, (source, points), label in zip(figure.subplots(1, 2), sources.items(), labels, strict=True):
        for _, rows in order_variants(points).groupby("series", sort=False):
            draw_series(axes, rows, "gflops", styles)
        axes.set(xscale="log", yscale="log", xlabel="Gflops (1e9 multiply-adds of one forward pass)", ylabel=label)
        axes.set(xlim=pad_log(points["gflops"].min(), points["gflops"].max()))
        axes.set(ylim=pad_log(points["low"].min(), points["high"].max()))
        use_log(axes.xaxis)
        use_log(axes.yaxis)
        axes.set_title(source + _describe_correlation(points))
    add_variant_legend(figure, styles, len({name.split("/")[0] for name in styles}))
    kept = ["source", "variant", "series", "patch", "params_m", "gflops", "metric", "value", "low", "high"]
    data = [
        points.assign(source=source, metric=metric)
        for (source, points), metric in zip(sources.items(), ("fid50k", measured.metric), strict=True)
    ]
    return Drawing(figure, pd.concat(data, ignore_index=True)[kept])


def _describe_correlation(points: pd.DataFrame) -> str:
    """Pearson's r of ln Gflops and the distance over the fitted points, where it is defined."""
    fitted = points[points["fitted"]]
    if len(fitted) < 3 or fitted["gflops"].nunique() < 2 or fitted["value"].nunique() < 2:
        return ""
    return f", Pearson r {np.corrcoef(np.log(fitted['gflops']), fitted['value'])[0, 1]:+.2f}"
