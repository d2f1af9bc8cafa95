"""Noise schedules, and the timesteps that a sampler with fewer steps visits."""

import torch
from torch import Tensor

from dit_scaling.common.errors import UserError

STARTS_IN_NOISE = 0.75
"""Share of the timesteps that DDIM's spacing has to reach: there 6% of an image's amplitude is left."""


def linear_betas(num_timesteps: int) -> Tensor:
    """Betas from 1e-4 to 0.02 for 1000 steps (Ho et al. 2020), scaled by 1000/T for other numbers: (T,) float64.

    Raises:
        UserError: so few steps that a beta would reach 1.
    """
    if num_timesteps <= 20:
        raise UserError(f"a diffusion of {num_timesteps} steps is too short: linear betas need more than 20.")
    scale = 1000 / num_timesteps
    return torch.linspace(scale * 1e-4, scale * 0.02, num_timesteps, dtype=torch.float64)


def spaced_timesteps(num_timesteps: int, num_steps: int) -> Tensor:
    """Evenly spaced timesteps with both ends, as the paper samples: (num_steps,) int64, ascending.

    250 of 1000 are 0, 4, 8, ..., 995, 999.

    Raises:
        UserError: ``num_steps`` is not in [2, num_timesteps].
    """
    _check_steps(num_timesteps, num_steps)
    stride = (num_timesteps - 1) / (num_steps - 1)
    return torch.tensor([round(step * stride) for step in range(num_steps)])


def strided_timesteps(num_timesteps: int, num_steps: int) -> Tensor:
    """Timesteps 0, k, 2k, ... with k = num_timesteps // num_steps, as DDIM samples: (num_steps,) int64, ascending.

    Raises:
        UserError: ``num_steps`` is not in [2, num_timesteps], or the last timestep is so small that the chain would
            begin with noise where training had seen images.
    """
    _check_steps(num_timesteps, num_steps)
    stride = num_timesteps // num_steps
    if (num_steps - 1) * stride < STARTS_IN_NOISE * (num_timesteps - 1):
        raise UserError(
            f"DDIM in {num_steps} steps would start at timestep {(num_steps - 1) * stride} of {num_timesteps}, where a "
            f"part of the image is still there: choose {num_timesteps // (stride + 1)} steps."
        )
    return torch.arange(num_steps) * stride


def _check_steps(num_timesteps: int, num_steps: int) -> None:
    if not 2 <= num_steps <= num_timesteps:
        raise UserError(f"cannot sample in {num_steps} steps: choose 2 to {num_timesteps}, the number of training.")
