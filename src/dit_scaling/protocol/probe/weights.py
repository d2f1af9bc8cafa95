"""How far weights have moved: from where they started, and the average from the weights."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dit_scaling.config.stages import TrainSettings
from dit_scaling.models import create_model
from dit_scaling.training.draws import seed_for


@dataclass(frozen=True)
class Drift:
    """Distances of all trained weights together, as shares of the distance of the raw weights from their start."""

    raw: float
    """Distance of the raw weights from their start, as a share of the norm at the start."""
    ema: float
    """Distance of the average from the start; 0 means that it was never updated."""
    apart: float
    """Distance between average and raw weights."""
    scale: float
    """Least-squares factor from the raw weights to the average: about 1, less for an average that began at zero."""


def initial_model(settings: TrainSettings) -> nn.Module:
    """The network as training started it."""
    torch.manual_seed(seed_for("init", settings.seed))
    return create_model(settings.build_variant(), settings.input_size, settings.num_classes, settings.in_channels)


def measure_drift(start: nn.Module, raw: nn.Module, ema: nn.Module) -> Drift:
    """Compare three copies of one network."""
    begin, weights, average = (_flatten(model) for model in (start, raw, ema))
    moved = float((weights - begin).norm())
    return Drift(
        raw=moved / float(begin.norm()),
        ema=float((average - begin).norm()) / moved,
        apart=float((average - weights).norm()) / moved,
        scale=float(average @ weights / (weights @ weights)),
    )


def _flatten(model: nn.Module) -> Tensor:
    return torch.cat([weight.detach().double().flatten().cpu() for _, weight in sorted(model.named_parameters())])
