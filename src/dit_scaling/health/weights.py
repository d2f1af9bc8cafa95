"""How far weights have moved: from where they started, and the average from the weights."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn


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


def measure_drift(start: nn.Module, raw: nn.Module, ema: nn.Module) -> Drift:
    """Compare three copies of one network, in float64 and parameter by parameter: memory is that of the largest."""
    moved = begun = ema_moved = apart = product = norm = 0.0
    for begin, weights, average in zip(_parameters(start), _parameters(raw), _parameters(ema), strict=True):
        moved += _squares(weights - begin)
        begun += _squares(begin)
        ema_moved += _squares(average - begin)
        apart += _squares(average - weights)
        product += float(average @ weights)
        norm += _squares(weights)
    return Drift(
        raw=math.sqrt(moved / begun),
        ema=math.sqrt(ema_moved / moved),
        apart=math.sqrt(apart / moved),
        scale=product / norm,
    )


def _parameters(model: nn.Module) -> Iterator[Tensor]:
    """(n,) float64 each, by name."""
    for _, weight in sorted(model.named_parameters()):
        yield weight.detach().cpu().double().flatten()


def _squares(values: Tensor) -> float:
    return float(values @ values)
