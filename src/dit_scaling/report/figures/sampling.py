"""What sampling costs: the distance against network evaluations and their compute, as the paper's figure 10."""

from dataclasses import replace

import pandas as pd

from dit_scaling.charts.panel import HEIGHT, NAME_GAP, TOP, Line, Panel, name_margin
from dit_scaling.charts.scales import choose_unit, log_scale
from dit_scaling.common.words import count
from dit_scaling.diffusion.samplers import SAMPLERS
from dit_scaling.report.figures.axes import distance_scale, distance_title, mark_points
from dit_scaling.report.figures.material import Drawn, Material, best_of, rows_of, tabulate
from dit_scaling.report.measurements import estimate_points
from dit_scaling.report.numbers import describe_distance
from dit_scaling.report.style import order_variants

GUIDED = 2  # passes of the network an evaluation, with guidance


def draw_sampling(material: Material) -> Drawn:
    """A line per variant and sampler over its numbers of steps; no panel where the study was sampled in one way."""
    measured = material.measured
    points = sampling_points(material)
    data = tabulate(measured, "sampling_gflops", points=points).assign(
        **{name: points[name] for name in ("sampler", "sampling_steps", "evaluations")}
    )
    if not material.samplings:
        return Drawn("The study was sampled in one way.", "", (), data)
    unit = choose_unit(list(1e9 * points["sampling_gflops"]))
    words = f"{unit.word} multiply-adds to sample one image".strip().capitalize()
    return Drawn(
        finding=_describe(points),
        text="Each line is one variant by one sampler; points are its numbers of steps. Guidance doubles evaluations.",
        panels=(
            _draw_panel(material, points, "evaluations", 1.0, "Network evaluations to sample one image"),
            _draw_panel(material, points, "sampling_gflops", 1e9 / unit.size, words),
        ),
        data=data,
    )


def sampling_points(material: Material) -> pd.DataFrame:
    """Points of every sampling at the last common step, by variant, sampler and steps.

    Columns of `estimate_points`, and sampler, sampling_steps, evaluations (of the network for one image) and
    sampling_gflops (1e9 multiply-adds of them).
    """
    measured = material.measured
    ours = measured.rows[measured.rows["step"] == measured.final["step"].iloc[0]]
    parts = []
    for rows in (ours, *material.samplings):
        of_variant = rows.drop_duplicates("variant")[["variant", "sampler", "sampling_steps"]]
        parts.append(estimate_points(rows, measured.metric).merge(of_variant, on="variant"))
    points = pd.concat(parts, ignore_index=True)
    passes = 1 if measured.guidance_scale == 1 else GUIDED
    ways = zip(points["sampler"], points["sampling_steps"], strict=True)
    points["evaluations"] = [passes * SAMPLERS[str(sampler)].evaluations(int(steps)) for sampler, steps in ways]
    points["sampling_gflops"] = points["gflops"] * points["evaluations"]
    order = list(order_variants(measured.final)["variant"])
    points["place"] = points["variant"].map(order.index)
    return points.sort_values(["place", "sampler", "sampling_steps"], ignore_index=True).drop(columns="place")


def _draw_panel(material: Material, points: pd.DataFrame, x: str, factor: float, title: str) -> Panel:
    measured = material.measured
    samplers = list(dict.fromkeys(points["sampler"]))
    lines = []
    for (variant, sampler), rows in points.groupby(["variant", "sampler"], sort=False):
        name = material.short[str(variant)]
        places = zip(rows["variant"], factor * rows[x], rows["value"], strict=True)
        lines.append(
            Line(
                tuple(places),
                material.styles[str(variant)].hue,
                name if len(samplers) == 1 else f"{name} {sampler}",
                dash=samplers.index(str(sampler)),
            )
        )
    panel = Panel(
        said=f"{distance_title(measured)} against {title.lower()}; arrow keys go from point to point",
        x=log_scale(factor * points[x]),
        y=distance_scale(points),
        x_title=title,
        y_title=distance_title(measured),
        height=max(HEIGHT, TOP + 60 + NAME_GAP * len(lines)),
        right=name_margin(line.name for line in lines),
        names_in_margin=True,
    )
    for line in lines:
        panel.add_line(line)
    marks = mark_points(material, points, x, factor, labels=False)
    told = [
        (*mark.told, f"{row['sampler']}, {row['sampling_steps']:,} steps, {row['evaluations']:,} network evaluations")
        for mark, row in zip(marks, rows_of(points), strict=True)
    ]
    panel.add_points([replace(mark, told=lines, seeds=()) for mark, lines in zip(marks, told, strict=True)])
    return panel


def _describe(points: pd.DataFrame) -> str:
    """How often a smaller model with more evaluations beats a larger one at no less compute; else which is the best."""
    compared = won = 0
    for small in rows_of(points):
        affordable = points["sampling_gflops"] <= small["sampling_gflops"]
        larger = points[(points["gflops"] > small["gflops"]) & affordable]
        compared, won = compared + len(larger), won + int((larger["value"] > small["value"]).sum())
    if not compared:
        best = best_of(points)
        way = f"by {best['sampler']} in {best['evaluations']:,} network evaluations"
        return f"{best['variant']} {way} has the lowest distance, {describe_distance(best['value'])}"
    said = "doesn’t make up" if 2 * won < compared else "makes up"
    how = f"it wins {won} of {count(compared, 'comparison')}"
    return f"More sampling compute {said} for a smaller model: {how}"
