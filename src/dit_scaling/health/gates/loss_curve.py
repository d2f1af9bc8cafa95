"""The loss of a run beside the curves that it is judged by."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from dit_scaling.charts.panel import Line, Point
from dit_scaling.health.check_page import Chart
from dit_scaling.training.run_curves import draw_log, places_of

BY_VARIANCE = "variance alone"


def draw_loss(
    lines: Sequence[Mapping[str, float]], published: pd.DataFrame, by_variance: float, target: str = "noise"
) -> Chart | None:
    """Loss and error of the target against steps; None where no line has one to draw.

    Args:
        lines: of metrics.jsonl.
        published: losses of healthy runs that this one can be compared with: variant, steps, loss; may be empty.
        by_variance: error of the target that the variance of the latents alone allows.
        target: what the network predicts.
    """
    if not lines:
        return None
    healthy = [
        Line(places_of(name, rows["steps"], rows["loss"]), "other", name, kind="curve", dash=number + 1)
        for number, (variant, rows) in enumerate(published.groupby("variant"))
        for name in [f"healthy {variant}"]
    ]
    ends = tuple(("", float(line["step"]), by_variance) for line in (lines[0], lines[-1]))
    beside = [*healthy, Line(ends, "", BY_VARIANCE, kind="trend")]
    panel = draw_log(lines, {"loss": "loss", "mse": f"{target} error"}, "Mean of the log’s window", beside)
    if panel is None:
        return None
    panel.add_points([_mark(place, line.dash) for line in healthy for place in line.places])
    return Chart(_describe(lines, by_variance, target), panel)


def _mark(place: tuple[str, float, float], shape: int) -> Point:
    """A published loss: often there is but one of a variant, through which no line leads."""
    name, step, loss = place
    return Point(name, step, loss, "other", shape, (f"{name}: {loss:.3g} at step {step:,.0f}",))


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
