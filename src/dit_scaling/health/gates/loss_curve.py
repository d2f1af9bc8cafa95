"""The loss of a run beside the curves that it is judged by."""

from collections.abc import Mapping, Sequence
from io import BytesIO

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from dit_scaling.health.pictures import Images


def draw_loss(
    lines: Sequence[Mapping[str, float]], published: pd.DataFrame, by_variance: float, target: str = "noise"
) -> Figure:
    """Loss and error of the target against steps.

    Args:
        lines: of metrics.jsonl.
        published: losses of healthy runs that this one can be compared with: variant, steps, loss; may be empty.
        by_variance: error of the target that the variance of the latents alone allows.
        target: what the network predicts.
    """
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots()
    steps = [line["step"] for line in lines]
    for name, label in (("loss", "loss"), ("mse", f"{target} error")):
        axes.plot(steps, [line[name] for line in lines], label=label)
    axes.axhline(by_variance, color="grey", linestyle="--", label=f"{target} error by the variance alone")
    for variant, rows in published.groupby("variant"):
        axes.plot(rows["steps"], rows["loss"], "o--", label=f"loss of a healthy {variant}")
    axes.set(xlabel="step", ylabel="mean of the log window", yscale="log")
    axes.legend(fontsize="small")
    return figure


def rasterise(figure: Figure) -> Images:
    """The figure as one image (1, H, W, 3)."""
    stream = BytesIO()
    figure.savefig(stream, format="png")
    return np.asarray(Image.open(stream).convert("RGB"))[None]
