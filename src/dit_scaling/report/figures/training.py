"""Over training: the distance against compute and steps, as the paper's figures 9 and 6."""

import math
from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from dit_scaling.charts.panel import Panel, name_margin
from dit_scaling.charts.scales import Scale, Unit, choose_unit, describe_steps, describe_tick, log_scale
from dit_scaling.common.words import count, listing, number_word, sentence
from dit_scaling.report.figures.axes import (
    add_levels,
    distance_scale,
    distance_title,
    mark_points,
    variant_lines,
)
from dit_scaling.report.figures.material import Drawn, Material, rows_of, tabulate
from dit_scaling.report.figures.scaling import add_fit, predict
from dit_scaling.report.measurements import fit_points
from dit_scaling.report.numbers import describe_percent, describe_r2
from dit_scaling.report.style import order_variants

MOST_LEADS = 4  # models that a title has room for
LOW_PANEL = 250.0  # pixels high where there are several


def has_course(material: Material) -> bool:
    """Whether any variant was scored at more than one step."""
    return bool((material.measured.points.groupby("variant")["step"].nunique() > 1).any())


def draw_compute(material: Material) -> Drawn:
    """The distance against training compute at every scored step: small models long, large ones short."""
    measured = material.measured
    points, fit = measured.points.sort_values(["variant", "step"]), fit_points(measured.final, "train_gflops")
    curve = predict(fit)
    data = tabulate(measured, "train_gflops", points=points, fit=curve)
    law = ""
    if fit is not None:
        change = 10.0**fit.b - 1
        quality = "" if fit.r_squared is None else f", R² {describe_r2(fit.r_squared)}"
        law = (
            f"Ten times the training compute goes with a {describe_percent(change)} "
            f"{'lower' if change < 0 else 'higher'} distance (power law over {number_word(fit.n)} variants{quality})"
        )
    if not has_course(material):
        said = f"{law}. " if law else ""
        step = measured.final["step"].iloc[0]
        return Drawn(
            f"{said}Each variant was scored at one step, {step:,}, so there is no curve over training.", "", (), data
        )
    unit = choose_unit(list(1e9 * points["train_gflops"]))
    factor = 1e9 / unit.size
    panel = Panel(
        said=f"{distance_title(measured)} against training compute; arrow keys go from point to point",
        x=log_scale(factor * points["train_gflops"]),
        y=distance_scale(points),
        x_title=f"{sentence(unit.word)} multiply-adds of training",
        y_title=distance_title(measured),
        right=30.0,
    )
    add_levels(panel, measured)
    add_fit(panel, fit, curve, factor)
    ordered = points.set_index("variant").loc[list(order_variants(measured.final)["variant"])].reset_index()
    for line in variant_lines(material, ordered, "train_gflops", factor):
        panel.add_line(line)
    marks = mark_points(material, ordered, "train_gflops", factor, labels=False)
    panel.add_points([replace(mark, seeds=()) for mark in marks])
    rest = [f"{text}." for text in (_long_against_short(points), law) if text]
    return Drawn(
        finding=_best_by_compute(points, material.short, unit),
        text=" ".join(["Every scored step; compute is Gflops × images seen × 3.", *rest]),
        panels=(panel,),
        data=data,
    )


def _best_by_compute(points: pd.DataFrame, short: Mapping[str, str], unit: Unit) -> str:
    """Who has the lowest distance that was reached with no more than so much training compute."""
    leads: list[tuple[str, float]] = []
    lowest = math.inf
    for row in rows_of(points.sort_values(["train_gflops", "value"])):
        if row["value"] >= lowest:
            continue
        lowest = row["value"]
        if not leads or leads[-1][0] != row["variant"]:
            leads.append((row["variant"], 1e9 * row["train_gflops"] / unit.size))
    names, starts = [short[name] for name, _ in leads], [describe_tick(float(f"{start:.3g}")) for _, start in leads]
    if len(leads) == 1:
        return f"{names[0]} has the lowest distance at every training compute"
    words = " ".join(filter(None, [unit.word, "multiply-adds of training"]))
    told = [f"{names[0]} below {starts[1]} {words}"]
    if len(leads) > MOST_LEADS:
        told += [f"then {count(len(leads) - 2, 'change')}", f"{names[-1]} above {starts[-1]}"]
    else:
        told += [f"{name} below {end}" for name, end in zip(names[1:-1], starts[2:], strict=True)]
        told.append(f"{names[-1]} above")
    return f"Best for the compute: {', '.join(told)}"


def _long_against_short(points: pd.DataFrame) -> str:
    """How often a larger model trained short beats a smaller one of its patch trained long, at no more compute."""
    compared = won = 0
    for small, run in points.groupby("variant"):
        last = run.sort_values("step").iloc[-1]
        for large, other in points[points["patch"] == last["patch"]].groupby("variant"):
            if large == small or other["params_m"].iloc[0] <= last["params_m"]:
                continue
            afforded = other[other["train_gflops"] <= last["train_gflops"]].sort_values("step")
            if not afforded.empty:
                compared, won = compared + 1, won + int(afforded["value"].iloc[-1] < last["value"])
    if not compared:
        return ""
    times = f"in {won} of {count(compared, 'comparison')}" if won else f"in none of {count(compared, 'comparison')}"
    return f"A large model trained short beats a small one trained long {times} at equal compute"


def draw_steps(material: Material) -> Drawn:
    """The distance against steps: one patch a panel, then one size a panel."""
    measured, short = material.measured, material.short
    points = measured.points.sort_values(["variant", "step"])
    data = tabulate(measured, "step", points=points)
    if not has_course(material):
        step = measured.final["step"].iloc[0]
        return Drawn(f"The distance was measured once in training, at step {step:,}.", "", (), data)
    variants = order_variants(measured.final)
    patches = sorted(variants["patch"].dropna().unique(), reverse=True)
    groups = [("patch", patch, f"Patch {patch}", "series") for patch in patches]
    groups += [("series", series, short[series], "patch") for series in variants["series"].unique()]
    panels = []
    for column, value, title, name in groups:
        members = list(variants.loc[(variants[column] == value).fillna(False), "variant"])
        if len(members) > 1:
            panels.append(_steps_panel(material, points, members, title, name))
    return Drawn(_still_falling(material, points), "One patch a panel, then one size a panel.", tuple(panels), data)


def _steps_panel(material: Material, points: pd.DataFrame, members: list[str], title: str, name: str) -> Panel:
    rows = points.set_index("variant").loc[members].reset_index()
    first, last = float(points["step"].min()), float(points["step"].max())
    lines = variant_lines(material, rows, "step", 1.0, name=name)
    panel = Panel(
        said=f"{title}: {distance_title(material.measured)} against training steps",
        x=Scale(first - 0.05 * (last - first), last + 0.02 * (last - first), log=False),
        y=distance_scale(points),
        x_title="Training steps",
        y_title=f"{title}: {distance_title(material.measured)}",
        height=LOW_PANEL,
        right=name_margin(line.name for line in lines),
        x_text=describe_steps,
        names_in_margin=True,
    )
    for line in lines:
        panel.add_line(line)
    panel.add_points([replace(mark, seeds=()) for mark in mark_points(material, rows, "step", 1.0, labels=False)])
    return panel


def _still_falling(material: Material, points: pd.DataFrame) -> str:
    """Whether training longer would help: who still improved from the last step but one to the last."""
    risen = []
    for variant, run in points.groupby("variant", sort=False):
        course = run.sort_values("step")["value"].to_list()
        if len(course) > 1 and course[-1] >= course[-2]:
            risen.append(material.short[str(variant)])
    steps = sorted(points["step"].unique())
    stretch = f"from step {steps[-2]:,} to {steps[-1]:,}"
    if not risen:
        return f"Every variant still improves {stretch}"
    if len(risen) <= 3:
        return f"All but {listing(risen)} still improve {stretch}"
    return f"{sentence(count(len(risen), 'variant'))} no longer improve {stretch}"
