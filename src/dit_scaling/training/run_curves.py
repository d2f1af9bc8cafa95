"""A run's log as a chart: what was logged against steps, both axes logarithmic."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from dit_scaling.charts.panel import Line, Panel, name_margin
from dit_scaling.charts.scales import describe_steps, log_scale

CURVE_POINTS = 100  # of a run's curve; a log may have thousands of lines
HEIGHT = 270.0


def draw_log(
    lines: Sequence[Mapping[str, float]], columns: Mapping[str, str], title: str, beside: Sequence[Line] = ()
) -> Panel | None:
    """Columns of metrics.jsonl by their names, and lines of others beside them; None where there is nothing to draw.

    Args:
        lines: of metrics.jsonl; values that a logarithmic axis cannot show, as a run that diverged has, are left out.
        columns: what is drawn, each with its name.
        title: of the axis upwards.
        beside: what else the axes are to fit.
    """
    run = _thin(pd.DataFrame(lines, columns=["step", *columns]))
    own = [
        Line(places_of(name, run["step"], run[column]), f"c{number + 1}", name, kind="curve")
        for number, (column, name) in enumerate(columns.items())
    ]
    own = [line for line in own if line.places]
    if not own:
        return None
    drawn = [*own, *beside]
    places = [place for line in drawn for place in line.places]
    panel = Panel(
        said=f"{', '.join(line.name for line in drawn)} against training steps",
        x=log_scale(step for _, step, _ in places),
        y=log_scale(value for _, _, value in places),
        x_title="Training steps",
        y_title=title,
        height=HEIGHT,
        right=name_margin(line.name for line in drawn),
        x_text=describe_steps,
        names_in_margin=True,
    )
    for line in drawn:
        panel.add_line(line)
    return panel


def places_of(name: str, steps: pd.Series, values: pd.Series) -> tuple[tuple[str, float, float], ...]:
    """The places that logarithmic axes can show."""
    found = zip(map(float, steps), map(float, values), strict=True)
    return tuple((name, step, value) for step, value in found if np.isfinite(value) and value > 0 and step > 0)


def _thin(run: pd.DataFrame) -> pd.DataFrame:
    """Means over stretches that grow with the step, as a logarithmic axis shows them."""
    ends = np.unique(np.geomspace(1, len(run), CURVE_POINTS).round()) if len(run) else np.ones(0)
    return run.groupby(np.searchsorted(ends, np.arange(1, len(run) + 1))).mean()
