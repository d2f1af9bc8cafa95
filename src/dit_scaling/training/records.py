"""metrics.jsonl: the means of each window of steps, a line each."""

import json
from pathlib import Path

import torch
from torch import Tensor

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import atomic_path


class DivergedError(UserError):
    """The loss or a weight of a run is no number any more."""


WINDOW = 50  # steps that one line averages over
NAMES = ("loss", "mse", "vb", "gradient_norm")


def append_record(path: Path, step: int, means: Tensor, seconds: float) -> dict[str, float]:
    """Append the line of the window that ends at ``step``: means (4,) as in `NAMES`, seconds of training so far.

    Returns:
        The means by their names.
    """
    named = dict(zip(NAMES, means.tolist(), strict=True))
    with path.open("a") as lines:
        lines.write(json.dumps({"step": step, **named, "seconds": round(seconds, 3)}) + "\n")
    return named


def write_records(path: Path, lines: str) -> None:
    """Make these lines the whole log."""
    with atomic_path(path) as temporary:
        temporary.write_text(lines)


def check_finite(tensor: Tensor, run: str, step: int, folder: Path) -> None:
    """See that weights or means are numbers.

    Raises:
        DivergedError: with the run, the step and what to do.
    """
    if not torch.isfinite(tensor).all():
        raise DivergedError(
            f"{run}: the loss or a weight is NaN or infinite within the {WINDOW} steps before step {step}. States in "
            f"{folder} are from before that. Lower training.learning_rate, set training.gradient_clip, or use "
            "precision float32."
        )
