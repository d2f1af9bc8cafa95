"""What a sampler visits on the way from noise to latents, and what it yields there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Way:
    """The times that a sampler visits."""

    timesteps: Tensor
    """(S,) what networks are fed with, the least noisy first; an index counts from there."""

    def __len__(self) -> int:
        return len(self.timesteps)


class Step(NamedTuple):
    """What a sampler yields after each step."""

    timestep: float
    """That the network was fed with: of a chain a whole number, of a flow a time in [0, 1]."""
    pred_x0: Tensor
    """(N, C, H, W) latents as predicted there."""
    x: Tensor
    """(N, C, H, W) where the step leads to: less noisy latents, after the last step the samples."""
