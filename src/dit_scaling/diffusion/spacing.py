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
        UserError: ``num_steps`` is not from 2 to the number of those that samplers may visit; the last timestep is so
            small that the chain would begin with noise where training had seen images; or the last two lie beyond
            what samplers may visit. The nearest number whose steps reach the noisiest of these is named.
    """
    _check_steps(process, num_steps, process.sampled_timesteps)
    complaint = _stride_complaint(process, num_steps)
    if complaint:
        better = _nearest_strided(process, num_steps)
        advice = "choose another sampler" if better is None else f"choose {better} steps"
        raise UserError(f"DDIM in {num_steps} steps {complaint}: {advice}.")
    stride = process.num_timesteps // num_steps
    last = min((num_steps - 1) * stride, process.sampled_timesteps - 1)
    return (*(step * stride for step in range(num_steps - 1)), last)


def _stride_complaint(process: DiffusionSettings, num_steps: int) -> str | None:
    """Why DDIM cannot sample in so many steps; None where it can."""
    total, end = process.num_timesteps, process.sampled_timesteps - 1
    stride = total // num_steps
    start = (num_steps - 1) * stride
    if (num_steps - 2) * stride >= end:
        return (
            f"would visit two timesteps of {total} from {end} on, the noisiest that schedule {process.schedule} lets "
            "samplers visit"
        )
    if min(start, end) < STARTS_IN_NOISE * (total - 1):
        return f"would start at timestep {start} of {total}, where a part of the image is still there"
    return None


def _nearest_strided(process: DiffusionSettings, num_steps: int) -> int | None:
    """The nearest number of steps that DDIM can sample in, of those that reach the noisiest timestep where some do."""

    def rank(count: int) -> tuple[bool, int, int]:
        reaches = count * (process.num_timesteps // count) >= process.sampled_timesteps - 1
        return not reaches, abs(count - num_steps), count

    counts = range(2, process.sampled_timesteps + 1)
    return min((count for count in counts if _stride_complaint(process, count) is None), key=rank, default=None)


def _check_steps(process: DiffusionSettings, num_steps: int, most: int) -> None:
    if not 2 <= num_steps <= most:
        raise UserError(
            f"cannot sample in {num_steps} steps: choose 2 to {most} of the {process.num_timesteps} of training."
        )
