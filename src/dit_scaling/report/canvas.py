"""What all figures share: logarithmic axes with readable ticks, reference levels, one legend entry per variant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Transform

from dit_scaling.common.csv_file import write_csv
from dit_scaling.common.files import atomic_path
from dit_scaling.report.measurements import Measurements
from dit_scaling.report.numbers import describe_number
from dit_scaling.report.style import GREY, Style

DASHED = (0, (4, 3))
REACH = 3.0


@dataclass(frozen=True)
class Drawing:
    """A figure and the data drawn in it."""

    figure: Figure
    data: pd.DataFrame


def save_drawing(drawing: Drawing, folder: Path, name: str) -> None:
    """Write NAME.svg, NAME.png and NAME.csv; equal data give equal bytes."""
    layout = drawing.figure.get_layout_engine()
    if layout is not None:
        layout.execute(drawing.figure)
        drawing.figure.set_layout_engine("none")  # laid out once, not again for each format
    for suffix, metadata in (("svg", {"Date": None}), ("png", {})):
        with atomic_path(folder / f"{name}.{suffix}") as temporary:
            drawing.figure.savefig(temporary, format=suffix, dpi=160, metadata=metadata)
    write_csv(drawing.data, folder / f"{name}.csv")


def use_log(axis: Axis) -> None:
    """Ticks written out, and as many of each decade as the axis has room for."""
    low, high = axis.get_view_interval()
    decades = np.log10(high / low)
    subs = (1, 1.5, 2, 3, 4, 5, 6, 8) if decades < 0.8 else (1, 2, 5) if decades < 2.5 else (1,)
    axis.set_major_locator(LogLocator(subs=subs, numticks=20))
    axis.set_minor_locator(LogLocator(subs=tuple(range(2, 10)), numticks=20))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _describe_tick(value)))
    axis.set_minor_formatter(NullFormatter())


def pad_log(low: float, high: float) -> tuple[float, float]:
    """Limits of a logarithmic axis a little wider than its data; wide enough for a single value."""
    margin = 1.04 * (high / low) ** 0.06
    return low / margin, high * margin


def _describe_tick(value: float) -> str:
    if value >= 1e5:
        return f"{value:.0e}".replace("e+0", "e").replace("e+", "e")
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"


def start_distance_axis(
    axes: Axes, measured: Measurements, *, beside: Sequence[float] = (), whole: bool = False
) -> None:
    """Logarithmic y axis over all points and those ``beside``; over all reference levels too where ``whole``.

    Elsewhere only levels within a factor of ``REACH`` of the points widen it, as distant ones would flatten the rest.
    """
    bounds = min([measured.points["low"].min(), *beside]), max([measured.points["high"].max(), *beside])
    levels = [level.value for level in measured.levels]
    levels = [value for value in levels if whole or bounds[0] / REACH < value < bounds[1] * REACH]
    low, high = min([bounds[0], *levels]), max([bounds[1], *levels])
    axes.set(yscale="log", ylim=pad_log(low, high))
    use_log(axes.yaxis)


def draw_reference_levels(axes: Axes, measured: Measurements, labels: bool = True) -> None:
    """Floors and ceiling as labelled lines, or as a note with an arrow at the edge beyond which they lie.

    The lowest is labelled below itself, so that two floors stay apart.
    """
    low, high = axes.get_ylim()
    lowest = min((level.value for level in measured.levels), default=None)
    inside = [level for level in measured.levels if low < level.value < high]
    for level in inside:
        axes.axhline(level.value, color=GREY, linewidth=0.9, linestyle=DASHED, zorder=1)
        if labels:
            side = ("top", -2) if level.value == lowest else ("bottom", 2)
            _note(
                axes,
                f"{level.label} {describe_number(level.value)}",
                level.value,
                axes.get_yaxis_transform(),
                side,
                left=level.kind == "floor",
            )
    if labels:
        above = [f"↑ {level.label} {describe_number(level.value)}" for level in measured.levels if level.value >= high]
        below = [f"↓ {level.label} {describe_number(level.value)}" for level in measured.levels if level.value <= low]
        _note(axes, "\n".join(above), 1.0, axes.transAxes, ("top", -2))
        _note(axes, "\n".join(below), 0.0, axes.transAxes, ("bottom", 2), left=True)


def _note(
    axes: Axes, text: str, y: float, transform: Transform, side: tuple[str, float], *, left: bool = False
) -> None:
    """Grey text at an edge of the axes, above or below ``y``."""
    vertical, gap = side
    x, horizontal = (0.01, "left") if left else (0.99, "right")
    axes.annotate(
        text, (x, y), (0, gap), transform, "offset points", ha=horizontal, va=vertical, fontsize=7.5, color=GREY
    )


def add_variant_legend(figure: Figure, styles: Mapping[str, Style], columns: int, *, lines: bool = False) -> None:
    """One entry per variant below the axes; ``lines`` shows dashes in place of markers."""
    handles = [
        Line2D([], [], color=style.colour, linestyle=style.dash, label=name)
        if lines
        else Line2D([], [], color=style.colour, marker=style.marker, linestyle="none", label=name)
        for name, style in styles.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def draw_series(axes: Axes, rows: pd.DataFrame, x: str, styles: Mapping[str, Style]) -> None:
    """A line through the points of one series, or of one run, and the points on it."""
    axes.plot(rows[x], rows["value"], color=styles[rows["variant"].iloc[0]].colour, linewidth=0.8, alpha=0.8)
    draw_points(axes, rows, x, styles)


def draw_points(axes: Axes, rows: pd.DataFrame, x: str, styles: Mapping[str, Style]) -> None:
    """Every point with its interval."""
    for name, points in rows.groupby("variant"):
        style = styles[str(name)]
        axes.errorbar(
            points[x],
            points["value"],
            yerr=(points["value"] - points["low"], points["high"] - points["value"]),
            color=style.colour,
            marker=style.marker,
            markersize=5,
            linestyle="none",
            capsize=2,
            elinewidth=0.9,
        )


def tabulate(
    measured: Measurements,
    x: str,
    *,
    points: pd.DataFrame,
    fit: pd.DataFrame | None = None,
    published: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """All that a figure shows as one table: kind, variant, series, patch, step, runs, ``x``, the metric, low, high."""
    kept = list(dict.fromkeys(["kind", "variant", "series", "patch", "step", "runs", x, "value", "low", "high"]))
    levels = [{"kind": level.kind, "variant": level.label, "value": level.value} for level in measured.levels]
    parts = [points.assign(kind="variant"), pd.DataFrame(levels)]
    if fit is not None and not fit.empty:
        kind = np.where(fit["extrapolated"], "extrapolated fit", "fit")
        band = {"x": x, "y": "value", "mean_low": "low", "mean_high": "high"}
        parts.append(fit[list(band)].rename(columns=band).assign(kind=kind))
    if published is not None and not published.empty:
        parts.append(published.assign(kind="published"))
    table = pd.concat([part for part in parts if not part.empty], ignore_index=True)
    return table.reindex(columns=kept).rename(columns={"value": measured.metric})
