"""Exponential moving average of weights."""

import torch
from torch import Tensor


def ema_decay_at(step: int, decay: float, ramp: bool) -> float:
    """Decay of the update after optimiser step ``step`` (from 1): constant, or min(decay, (1+n)/(10+n))."""
    return min(decay, (1 + step) / (10 + step)) if ramp else decay


@torch.no_grad()
def update_ema(average: Tensor, weights: Tensor, decay: float) -> None:
    """average <- decay * average + (1 - decay) * weights, in place."""
    average.lerp_(weights, 1 - decay)
