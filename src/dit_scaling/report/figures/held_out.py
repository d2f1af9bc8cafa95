"""The loss on held-out images: against training compute, and the distance against it."""

from dataclasses import replace

import pandas as pd

from dit_scaling.charts.panel import Panel
from dit_scaling.charts.scales import choose_unit, log_scale
from dit_scaling.common.words import sentence
from dit_scaling.losses.loss_names import HEADLINE, TRAINING
from dit_scaling.report.figures.axes import distance_scale, distance_title, mark_points, series_lines, variant_lines
from dit_scaling.report.figures.material import Drawn, Material
from dit_scaling.report.figures.training import has_course
from dit_scaling.report.measurements import Measurements
from dit_scaling.report.style import order_variants
from dit_scaling.variants import objective_of

COLUMNS = ["variant", "step", HEADLINE, f"{HEADLINE}_se", TRAINING]
FEWEST = 3  # variants of which a rank correlation says anything


def tabulate_losses(measured: Measurements) -> pd.DataFrame:
    """Losses by variant and step, means over seeds, beside the points; no rows where none were measured.

    Standard errors are over images, which are the same for all variants: differences of two variants are much surer.
    """
    rows = measured.rows
    if not {HEADLINE, TRAINING} <= set(rows.columns):
        return measured.points.iloc[:0].assign(**dict.fromkeys(COLUMNS[2:], 0.0))
    means = rows.dropna(subset=[HEADLINE]).groupby(["variant", "step"], sort=False)[COLUMNS[2:]].mean().reset_index()
    return measured.points.merge(means, on=["variant", "step"])


def draw_held_out(material: Material) -> Drawn:
    """First, held-out and training loss against training compute; then the distance against the held-out loss."""
    measured = material.measured
    table = tabulate_losses(measured)
    data = table[["variant", "step", "train_gflops", *COLUMNS[2:], "value"]].rename(columns={"value": measured.metric})
    if table.empty:
        return Drawn("Not measured: there are no latents of held-out images.", "", (), data)
    order = [name for name in order_variants(measured.final)["variant"] if name in set(table["variant"])]
    ordered = table.set_index("variant").loc[order].reset_index()
    return Drawn(
        finding=_describe(ordered),
        text=(
            "Mean squared error of what the networks predict, over all times, EMA weights; open marks: on as many "
            "training images. "
            "The same images, timesteps and noise for all variants."
        ),
        panels=(_draw_compute(material, ordered), _draw_distance(material, ordered)),
        data=data,
    )


def _draw_compute(material: Material, table: pd.DataFrame) -> Panel:
    unit = choose_unit(list(1e9 * table["train_gflops"]))
    factor = 1e9 / unit.size
    panel = Panel(
        said="Held-out loss against training compute",
        x=log_scale(factor * table["train_gflops"]),
        y=log_scale([*table[HEADLINE], *table[TRAINING]]),
        x_title=f"{sentence(unit.word)} multiply-adds of training".strip().capitalize(),
        y_title="Held-out loss",
        right=34.0,
    )
    losses = table.assign(value=table[HEADLINE])
    lines = variant_lines if has_course(material) else series_lines
    for line in lines(material, losses, "train_gflops", factor):
        panel.add_line(line)
    for column, words, look in ((TRAINING, "training loss", "mk hollow"), (HEADLINE, "held-out loss", "mk")):
        placed = mark_points(material, table.assign(value=table[column]), "train_gflops", factor, labels=False)
        told = [f"{material.short[mark.variant]}: {words} {mark.y:.4g}" for mark in placed]
        panel.add_points(
            [
                replace(mark, told=(text,), mark=look, low=None, high=None, seeds=())
                for mark, text in zip(placed, told, strict=True)
            ]
        )
    return panel


def _draw_distance(material: Material, table: pd.DataFrame) -> Panel:
    measured = material.measured
    last = table[table["step"] == measured.final["step"].iloc[0]]
    panel = Panel(
        said="Distance against the held-out loss",
        x=log_scale(last[HEADLINE]),
        y=distance_scale(last),
        x_title="Held-out loss",
        y_title=distance_title(measured),
        right=34.0,
    )
    for line in series_lines(material, last, HEADLINE, 1.0):
        panel.add_line(line)
    panel.add_points([replace(mark, seeds=()) for mark in mark_points(material, last, HEADLINE, 1.0, labels=True)])
    return panel


def _describe(table: pd.DataFrame) -> str:
    """Whether the loss orders the variants as the distance does, at the last step."""
    last = table.sort_values("step").groupby("variant").last()
    if len(set(map(objective_of, last.index))) > 1:
        return "The held-out loss of each variant, which compares within one objective only"
    if len(last) < FEWEST or last[HEADLINE].nunique() < 2 or last["value"].nunique() < 2:
        return "The held-out loss of each variant"
    r = float(last[HEADLINE].rank().corr(last["value"].rank()))
    kind = "much as" if r > 0.8 else "roughly as" if r > 0.4 else "not as"
    return f"The held-out loss orders the variants {kind} the distance does (rank correlation {r:+.2f})".replace(
        "(rank correlation -", "(rank correlation −"
    )
