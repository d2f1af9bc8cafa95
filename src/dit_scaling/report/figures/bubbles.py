"""Sizes and patches: a disc per variant with its area in proportion to Gflops, as the paper's figure 2."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from dit_scaling.charts.panel import Panel
from dit_scaling.charts.scales import Scale
from dit_scaling.report.figures.axes import add_levels, distance_scale, distance_title, mark_points
from dit_scaling.report.figures.material import Drawn, Material, best_of, rows_of, tabulate
from dit_scaling.report.numbers import describe_distance
from dit_scaling.report.style import order_variants

LARGEST = 24.0  # pixels of the largest disc's radius
APART = 0.6  # share of a size's width over which its patches spread


def draw_bubbles(material: Material) -> Drawn:
    """Sizes across, the distance up; the axis fits the models, floor and ceiling are arrows at its edge."""
    measured, short = material.measured, material.short
    points = order_variants(measured.final)
    series, patches = list(points["series"].unique()), sorted(points["patch"].dropna().unique(), reverse=True)

    def place(row: Mapping[str, Any]) -> float:
        aside = 0.0 if pd.isna(row["patch"]) else APART * ((patches.index(row["patch"]) + 0.5) / len(patches) - 0.5)
        return series.index(row["series"]) + aside

    placed = points.assign(place=[place(row) for row in rows_of(points)])
    panel = Panel(
        said=f"{distance_title(measured)} by size; the area of a disc is proportional to Gflops",
        x=Scale(-0.6, len(series) - 0.4, log=False),
        y=distance_scale(points),
        x_title="Size",
        y_title=distance_title(measured),
        x_text=lambda tick: short[series[round(tick)]],
        x_ticks=range(len(series)),
    )
    add_levels(panel, measured)
    largest = points["gflops"].max()
    panel.add_points(
        [
            replace(mark, radius=LARGEST * math.sqrt(gflops / largest), seeds=())
            for mark, gflops in zip(
                mark_points(material, placed, "place", 1.0, labels=True), placed["gflops"], strict=True
            )
        ]
    )
    best = best_of(points)
    return Drawn(
        finding=f"{short[best['variant']]} has the lowest distance, {describe_distance(best['value'])}",
        text="The area of a disc is proportional to Gflops; bars: 95% intervals.",
        panels=(panel,),
        data=tabulate(measured, "gflops", points=points),
    )
