"""The loss of a run beside the curves that it is judged by."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from dit_scaling.charts.panel import Line, Panel, Point
from dit_scaling.charts.scales import describe_steps, log_scale
from dit_scaling.charts.svg import text_width
from dit_scaling.health.check_page import Chart

CURVE_POINTS = 100  # of a run's curve; a log may have thousands of lines
HEIGHT = 270.0
BY_VARIANCE = "variance alone"


def draw_loss(
    lines: Sequence[Mapping[str, float]], published: pd.DataFrame, by_variance: float, target: str = "noise"
) -> Chart | None:
    """Loss and error of the target against steps, both axes logarithmic; None where no line has a loss to draw.

    Args:
        lines: of metrics.jsonl.
        published: losses of healthy runs that this one can be compared with: variant, steps, loss; may be empty.
        by_variance: error of the target that the variance of the latents alone allows.
        target: what the network predicts.
    """
    own = [line for line in _own_lines(lines, target) if line.places]
    if not own:
        return None
    healthy = list(_healthy_lines(published))
    drawn = [*own, *healthy]
    places = [place for line in drawn for place in line.places]
    panel = Panel(
        said=f"Loss and {target} error of the run against steps",
        x=log_scale(step for _, step, _ in places),
        y=log_scale([by_variance, *(value for _, _, value in places)]),
        x_title="Training steps",
        y_title="Mean of the log’s window",
        height=HEIGHT,
        right=max(text_width(name) for name in (BY_VARIANCE, *(line.name for line in drawn))) + 18,
        x_text=describe_steps,
        names_in_margin=True,
    )
    for line in drawn:
        panel.add_line(line)
    panel.add_points([_mark(place, line.dash) for line in healthy for place in line.places])
    ends = tuple(("", step, by_variance) for step in (panel.x.low, panel.x.high))
    panel.add_line(Line(ends, "", BY_VARIANCE, kind="trend"))
    return Chart(_describe(lines, by_variance, target), panel)


def _own_lines(lines: Sequence[Mapping[str, float]], target: str) -> Iterator[Line]:
    run = _thin(pd.DataFrame(lines, columns=["step", "loss", "mse"]))
    for column, name, hue in (("loss", "loss", "c1"), ("mse", f"{target} error", "c2")):
        yield Line(_places(name, run["step"], run[column]), hue, name, kind="curve")


def _healthy_lines(published: pd.DataFrame) -> Iterator[Line]:
    for number, (variant, rows) in enumerate(published.groupby("variant")):
        name = f"healthy {variant}"
        yield Line(_places(name, rows["steps"], rows["loss"]), "other", name, kind="curve", dash=number + 1)


def _mark(place: tuple[str, float, float], shape: int) -> Point:
    """A published loss: often there is but one of a variant, through which no line leads."""
    name, step, loss = place
    return Point(name, step, loss, "other", shape, (f"{name}: {loss:.3g} at step {step:,.0f}",))


def _thin(run: pd.DataFrame) -> pd.DataFrame:
    """Means over stretches that grow with the step, as a logarithmic axis shows them."""
    ends = np.unique(np.geomspace(1, len(run), CURVE_POINTS).round()) if len(run) else np.ones(0)
    return run.groupby(np.searchsorted(ends, np.arange(1, len(run) + 1))).mean()


def _places(name: str, steps: pd.Series, values: pd.Series) -> tuple[tuple[str, float, float], ...]:
    """What a logarithmic axis can show: a run that diverged has other values too."""
    found = zip(map(float, steps), map(float, values), strict=True)
    return tuple((name, step, value) for step, value in found if np.isfinite(value) and value > 0 and step > 0)


def _describe(lines: Sequence[Mapping[str, float]], by_variance: float, target: str) -> str:
    """Where the run is beside what needs no learning."""
    last = float(lines[-1]["mse"])
    if not np.isfinite(last):
        return f"The {target} error is no number at step {lines[-1]['step']:,.0f}"
    side = "below" if last < by_variance else "not below"
    return (
        f"The {target} error is {last:.3g} at step {lines[-1]['step']:,.0f}, {side} the {by_variance:.3g} "
        "that the variance of the latents alone allows"
    )
