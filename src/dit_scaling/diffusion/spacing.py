"""The timesteps that a sampler with fewer steps visits, ascending, as plain numbers: a config is checked with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dit_scaling.common.errors import UserError

if TYPE_CHECKING:
    from dit_scaling.diffusion.process import DiffusionSettings

STARTS_IN_NOISE = 0.75
"""Share of the timesteps that a sampler has to start at: there linear betas leave 6% of an image's amplitude."""


def spaced_timesteps(process: DiffusionSettings, num_steps: int) -> tuple[int, ...]:
    """Evenly spaced timesteps with both ends, as the paper samples: 250 of 1000 are 0, 4, 8, ..., 995, 999.

    Raises:
        UserError: ``num_steps`` is not from 2 to the number of those that samplers may visit.
    """
    _check_steps(process, num_steps, process.sampled_timesteps)
    stride = (process.sampled_timesteps - 1) / (num_steps - 1)
    return tuple(round(step * stride) for step in range(num_steps))


def upper_timesteps(process: DiffusionSettings, num_steps: int) -> tuple[int, ...]:
    """As many evenly spaced timesteps above 0 with the last: 4 of 1000 are 250, 500, 749, 999.

    Raises:
        UserError: ``num_steps`` is not from 2 to the number of those above 0.
    """
    _check_steps(process, num_steps, process.sampled_timesteps - 1)
    stride = (process.sampled_timesteps - 1) / num_steps
    return tuple(round(step * stride) for step in range(1, num_steps + 1))


def strided_timesteps(process: DiffusionSettings, num_steps: int) -> tuple[int, ...]:
    """Timesteps 0, k, 2k, ... with k = num_timesteps // num_steps, as DDIM samples; the last no noisier than allowed.

    Raises:
        UserError: ``num_steps`` is not from 2 to the number of those that samplers may visit, or the last timestep is
            so small that the chain would begin with noise where training had seen images.
    """
    _check_steps(process, num_steps, process.sampled_timesteps)
    total = process.num_timesteps
    stride = total // num_steps
    last = min((num_steps - 1) * stride, process.sampled_timesteps - 1)
    if last < STARTS_IN_NOISE * (total - 1) or last <= (num_steps - 2) * stride:
        raise UserError(
            f"DDIM in {num_steps} steps would start at timestep {(num_steps - 1) * stride} of {total}, where a "
            f"part of the image is still there or nothing of it at all: choose {total // (stride + 1)} steps."
        )
    return (*(step * stride for step in range(num_steps - 1)), last)


def _check_steps(process: DiffusionSettings, num_steps: int, most: int) -> None:
    if not 2 <= num_steps <= most:
        raise UserError(
            f"cannot sample in {num_steps} steps: choose 2 to {most} of the {process.num_timesteps} of training."
        )
