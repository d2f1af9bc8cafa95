"""The other metrics against Gflops, one panel a metric, as the paper's figure 12."""

import math

import pandas as pd

from dit_scaling.charts.panel import Panel, Point
from dit_scaling.charts.scales import Scale, choose_unit, log_scale
from dit_scaling.common.words import count, of_all, sentence
from dit_scaling.metrics import catalogue
from dit_scaling.metrics.catalogue import Metric
from dit_scaling.report.figures.axes import series_lines
from dit_scaling.report.figures.material import Drawn, Material, rows_of
from dit_scaling.report.numbers import describe_number
from dit_scaling.report.style import head_column, order_variants

LOW_PANEL = 250.0
FEWEST = 3  # points from which a panel says more than the table


def draw_others(material: Material) -> Drawn:
    """Means over seeds at the last common step; lines join the patches of a size."""
    measured = material.measured
    rows = measured.rows[measured.rows["step"] == measured.final["step"].iloc[0]]
    columns = {row.column_on(measured.features): row for row in catalogue.METRICS}
    shown = {
        column: row
        for column, row in columns.items()
        if column != measured.metric and column in rows.columns and rows[column].notna().all()
    }
    means = rows.groupby("variant")[list(shown)].mean()
    data = order_variants(measured.final)[["variant", "series", "patch", "gflops"]].merge(means, on="variant")
    varied = {column: row for column, row in shown.items() if data[column].nunique() > 1}
    if len(data) < FEWEST or not varied:
        said = f"{sentence(count(len(shown), 'other metric'))} measured" if shown else "No other metric was measured"
        return Drawn(f"{said}; see the table of variants.", "", (), data)
    panels = tuple(_draw_panel(material, data, column, row) for column, row in varied.items())
    better = sum(_improves(data, column, row) for column, row in varied.items())
    verb = "improves" if 1 in (better, len(varied)) else "improve"
    return Drawn(
        f"{sentence(of_all(better, len(varied), 'other metric'))} {verb} with Gflops, by rank correlation",
        "Means over seeds; lines join the patches of a size.",
        panels,
        data,
    )


def _improves(data: pd.DataFrame, column: str, row: Metric) -> bool:
    r = data["gflops"].rank().corr(data[column].rank())
    return bool(r > 0) if row.better == "higher" else bool(r < 0)


def _draw_panel(material: Material, data: pd.DataFrame, column: str, row: Metric) -> Panel:
    unit = choose_unit(list(1e9 * data["gflops"]))
    factor = 1e9 / unit.size
    values = data[column]
    margin = 0.08 * float(values.max() - values.min())
    head = sentence(head_column(row, material.measured.features).split(",")[0])
    panel = Panel(
        said=f"{head} against Gflops",
        x=log_scale(factor * data["gflops"]),
        y=Scale(float(values.min()) - margin, float(values.max()) + margin, log=False),
        x_title=f"{unit.word} multiply-adds of one forward pass".strip().capitalize(),
        y_title=f"{head} ({row.better} is better)",
        height=LOW_PANEL,
        right=26.0,
    )
    for line in series_lines(material, data.assign(value=values), "gflops", factor):
        panel.add_line(line)
    panel.add_points(
        [
            Point(
                point["variant"],
                factor * point["gflops"],
                point[column],
                material.styles[point["variant"]].hue,
                material.styles[point["variant"]].shape,
                (f"{material.short[point['variant']]}: {describe_number(point[column])}",),
            )
            for point in rows_of(data)
            if math.isfinite(point[column])
        ]
    )
    return panel
