"""Sampling compute against model compute: does a small model catch up by taking more sampling steps?"""

from dataclasses import replace

import pandas as pd

from dit_scaling.report.charts.panel import Panel
from dit_scaling.report.charts.scales import choose_unit, log_scale
from dit_scaling.report.figures.axes import add_levels, distance_scale, distance_title, mark_points, variant_lines
from dit_scaling.report.figures.material import Drawn, Material, rows_of, tabulate
from dit_scaling.report.measurements import estimate_points
from dit_scaling.report.style import order_variants
from dit_scaling.report.words import count

GUIDED = 2  # passes of the network a step, with guidance


def draw_sampling(material: Material) -> Drawn:
    """The distance against Gflops of sampling an image, one line a variant over its numbers of sampling steps."""
    measured = material.measured
    records, step = material.records, measured.final["step"].iloc[0]
    rows = records[(records["step"] == step) & (records["guidance_scale"] == measured.guidance_scale)]
    varied = "sampling_steps" in rows.columns and rows["sampling_steps"].nunique() > 1
    if not varied:
        steps = f" in {rows['sampling_steps'].iloc[0]:,} steps" if "sampling_steps" in rows.columns else ""
        data = tabulate(measured, "gflops", points=measured.final)
        return Drawn(f"All samples were drawn{steps}, so sampling compute was not varied.", "", (), data)
    parts = [
        estimate_points(group, measured.metric).assign(sampling_steps=steps)
        for steps, group in rows.groupby("sampling_steps")
    ]
    points = pd.concat(parts, ignore_index=True)
    passes = points["sampling_steps"] * (1 if measured.guidance_scale == 1 else GUIDED)
    points["sampling_gflops"] = points["gflops"] * passes
    ordered = points.set_index("variant").loc[list(order_variants(measured.final)["variant"])].reset_index()
    unit = choose_unit(list(1e9 * points["sampling_gflops"]))
    factor = 1e9 / unit.size
    panel = Panel(
        said=f"{distance_title(measured)} against the compute of sampling one image; arrow keys go from point to point",
        x=log_scale(factor * points["sampling_gflops"]),
        y=distance_scale(points),
        x_title=f"{unit.word} multiply-adds to sample one image".strip().capitalize(),
        y_title=distance_title(measured),
        right=30.0,
    )
    add_levels(panel, measured)
    for line in variant_lines(material, ordered, "sampling_gflops", factor):
        panel.add_line(line)
    marks = mark_points(material, ordered, "sampling_gflops", factor, labels=False)
    told = [
        (*mark.told, f"{steps:,} sampling steps") for mark, steps in zip(marks, ordered["sampling_steps"], strict=True)
    ]
    panel.add_points([replace(mark, told=lines, seeds=()) for mark, lines in zip(marks, told, strict=True)])
    return Drawn(
        finding=_describe(points),
        text="Each line is one variant at its numbers of sampling steps; compute is Gflops × steps.",
        panels=(panel,),
        data=tabulate(measured, "sampling_gflops", points=ordered).assign(),
    )


def _describe(points: pd.DataFrame) -> str:
    """How often a smaller model with more steps beats a larger one with fewer, at no less sampling compute."""
    compared = won = 0
    for small in rows_of(points):
        affordable = points["sampling_gflops"] <= small["sampling_gflops"]
        larger = points[(points["gflops"] > small["gflops"]) & affordable]
        compared, won = compared + len(larger), won + int((larger["value"] > small["value"]).sum())
    if not compared:
        return "No model could be compared at equal sampling compute"
    said = "doesn’t make up" if 2 * won < compared else "makes up"
    how = f"it wins {won} of {count(compared, 'comparison')}"
    return f"More sampling compute {said} for a smaller model: {how}"
