"""EMA of the weights of DiT-XL/2: one operator on a flat tensor beside a loop over parameters."""

from collections.abc import Mapping

import torch
from torch import Tensor

from benchmarks.row import Outcome, Row, Setting, Side, at_least, equal_within, timed
from dit_scaling.models import create_model
from dit_scaling.training.ema import update_ema

DECAY = 0.9999
COMPARED = 1000  # weights of each parameter


def draw_weights(setting: Setting) -> dict[str, Tensor]:
    """Weights by name, the same at every call."""
    torch.manual_seed(0)
    with torch.device("meta"):
        model = create_model("DiT-S/8" if setting.quick else "DiT-XL/2")
    return {name: torch.randn(parameter.shape) for name, parameter in model.named_parameters()}


def some_of(averages: Mapping[str, Tensor]) -> Outcome:
    """The first weights of each parameter."""
    return {name: average.flatten()[:COMPARED].clone().numpy() for name, average in averages.items()}


def flat_update(setting: Setting) -> Side:
    """`update_ema` as the training loop calls it."""
    named = draw_weights(setting)
    shapes = {name: weight.shape for name, weight in named.items()}
    weights = torch.empty(sum(shape.numel() for shape in shapes.values()))
    for name, part in zip(shapes, weights.split([shape.numel() for shape in shapes.values()]), strict=True):
        part.copy_(named.pop(name).flatten())
    average = torch.zeros_like(weights)

    def run() -> None:
        update_ema(average, weights, DECAY)

    def outcome() -> Outcome:
        parts = average.split([shape.numel() for shape in shapes.values()])
        return some_of(dict(zip(shapes, parts, strict=True)))

    return timed(run, outcome)


def update_by_parameter(setting: Setting) -> Side:
    """The reference code's loop: average = decay * average + (1 - decay) * weight, two operators a parameter."""
    weights = draw_weights(setting)
    averages = {name: torch.zeros_like(weight) for name, weight in weights.items()}

    def run() -> None:
        for name, weight in weights.items():
            averages[name].mul_(DECAY).add_(weight, alpha=1 - DECAY)

    return timed(run, lambda: some_of(averages))


ROWS = (
    Row(
        name="ema-DiT-XL-2",
        what="EMA update of DiT-XL/2, 675 million weights",
        peer="the reference code's loop over parameters",
        make_ours=flat_update,
        make_peer=update_by_parameter,
        agree=equal_within(1e-5),
        target=at_least(3.0),
    ),
)
