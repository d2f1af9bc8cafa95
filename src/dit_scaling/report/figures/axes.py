"""What the figures of distances share: the axis that fits the models, reference levels, points and lines."""

from collections.abc import Sequence

import pandas as pd

from dit_scaling.charts.panel import Line, Panel, Point
from dit_scaling.charts.scales import Scale, Unit, choose_unit, log_scale
from dit_scaling.metrics.catalogue import INCEPTION
from dit_scaling.report.figures.material import Material, rows_of, seeds_of, tell
from dit_scaling.report.measurements import Measurements
from dit_scaling.report.numbers import describe_distance

MOST_PIXELS_OF_SEEDS = 12  # seeds of a point that are drawn; more would be a smear


def distance_title(measured: Measurements) -> str:
    """Title of the axis: only Inception's features make a distance a FID."""
    return measured.label if measured.features == INCEPTION else "Fréchet distance"


def distance_scale(points: pd.DataFrame, beside: Sequence[float] = ()) -> Scale:
    """A logarithmic axis over all intervals and what stands beside them."""
    return log_scale([*points["low"], *points["high"], *beside])


def add_levels(panel: Panel, measured: Measurements, *, named: bool = True) -> None:
    """Floors and ceiling within the axis as lines, those beyond it as arrows at its edge."""
    above, below, inside = [], [], []
    for level in measured.levels:
        text = f"{level.label.split(' (N')[0]} {describe_distance(level.value)}"
        if level.value >= panel.y.high:
            above.append(text)
        elif level.value <= panel.y.low:
            below.append(text)
        else:
            inside.append((text, level.value))
    if not named:
        return
    if above:
        panel.add_edge_note(f"↑ {', '.join(above)}", top=True)
    if below:
        panel.add_edge_note(f"↓ {', '.join(below)}", top=False)
    for text, value in inside:
        panel.add_level(text, value)


def units_of(points: pd.DataFrame) -> tuple[Unit, Unit]:
    """Units of multiply-adds and of parameters."""
    return choose_unit(list(1e9 * points["gflops"])), choose_unit(list(1e6 * points["params_m"]))


def mark_points(material: Material, rows: pd.DataFrame, x: str, factor: float, *, labels: bool) -> list[Point]:
    """The points of a figure; ``factor`` takes the column ``x`` to the axis."""
    measured, styles, short = material.measured, material.styles, material.short
    compute, weights = units_of(measured.final)
    found = []
    for row in rows_of(rows):
        variant = str(row["variant"])
        seeds = seeds_of(measured, variant, row["step"])
        patch = "" if pd.isna(row["patch"]) else f"/{row['patch']:.0f}"
        found.append(
            Point(
                variant,
                row[x] * factor,
                row["value"],
                styles[variant].hue,
                styles[variant].shape,
                tell(row, short[variant], seeds, compute, weights),
                row["low"],
                row["high"],
                tuple(seeds) if 1 < len(seeds) <= MOST_PIXELS_OF_SEEDS else (),
                patch if labels else "",
            )
        )
    return found


def series_lines(material: Material, rows: pd.DataFrame, x: str, factor: float) -> list[Line]:
    """A line per size through its patches, named at its end."""
    return [
        Line(
            _places(members, x, factor), material.styles[str(members["variant"].iloc[0])].hue, material.short[str(name)]
        )
        for name, members in rows.groupby("series", sort=False)
    ]


def variant_lines(
    material: Material, rows: pd.DataFrame, x: str, factor: float, *, name: str = "variant"
) -> list[Line]:
    """A line per variant over its steps, named at its end by the variant, its size or its patch."""
    found = []
    for variant, members in rows.groupby("variant", sort=False):
        told = {
            "variant": material.short[str(variant)],
            "series": material.short[str(members["series"].iloc[0])],
            "patch": f"patch {members['patch'].iloc[0]}",
        }
        found.append(Line(_places(members, x, factor), material.styles[str(variant)].hue, told[name]))
    return found


def _places(members: pd.DataFrame, x: str, factor: float) -> tuple[tuple[str, float, float], ...]:
    columns = zip(members["variant"], members[x] * factor, members["value"], strict=True)
    return tuple((str(variant), float(a), float(b)) for variant, a, b in columns)
