"""Noise schedules: one row each. Read by configs, so nothing here imports torch before betas are asked for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from torch import Tensor

LINEAR_STEPS, LINEAR_FIRST, LINEAR_LAST = 1000, 1e-4, 0.02  # of Ho et al. 2020
COSINE_OFFSET = 0.008  # s of Nichol and Dhariwal 2021, equation 17
LARGEST_BETA = 0.999  # theirs too: the last beta would be 1
# log(alpha / sigma) where samplers of the cosine schedule start: 1.8% of an image's amplitude is left. From lower, to
# -5.1 as diffusers has it, steps without noise carry the error of x_0 predicted there into the samples.
LOWEST_LOG_RATIO = -4.0


@dataclass(frozen=True)
class Schedule:
    """How much noise each of T steps adds, and what others have to know of it."""

    name: str
    label: str
    """In the protocol table."""
    betas: Callable[[int], Tensor]
    """T, at least ``fewest``, to (T,) float64."""
    fewest: int
    """The smallest T."""
    sampled: Callable[[int], int]
    """T to the number of timesteps, from the least noisy on, that samplers may visit. Beyond them so little of an
    image is left that the x_0 predicted there is all error, and nothing clips it."""
    note: str
    """What it means for a study to choose it, or whose it is."""
    ends_in_noise: bool = False
    """Whether nothing of an image is left at the last timestep, so that no noise predicted there tells of it."""
    diffusers: Callable[[int], dict[str, Any]] | None = None
    """T to the arguments by which diffusers' schedulers compute the same betas; None where they have to be listed."""


def linear_betas(num_timesteps: int) -> Tensor:
    """Betas from 1e-4 to 0.02 for 1000 steps (Ho et al. 2020), scaled by 1000/T for other numbers: (T,) float64."""
    import torch

    first, last = _linear_ends(num_timesteps)
    return torch.linspace(first, last, num_timesteps, dtype=torch.float64)


def cosine_betas(num_timesteps: int) -> Tensor:
    """Betas whose abar is f(t/T) / f(0), f(u) = cos^2((u + s) / (1 + s) pi / 2), and at most 0.999: (T,) float64."""
    import torch

    u = torch.arange(num_timesteps + 1, dtype=torch.float64) / num_timesteps
    signal = torch.cos((u + COSINE_OFFSET) / (1 + COSINE_OFFSET) * math.pi / 2).square()
    return (1 - signal[1:] / signal[:-1]).clamp(max=LARGEST_BETA)


def zero_snr_betas(num_timesteps: int) -> Tensor:
    """Linear betas whose sqrt(abar) is shifted to 0 at the last timestep and scaled to keep the first: (T,) float64.

    Lin et al. 2023 (arXiv 2305.08891), algorithm 1.
    """
    import torch

    signal = torch.cumprod(1 - linear_betas(num_timesteps), dim=0).sqrt()
    signal = (signal - signal[-1]) * signal[0] / (signal[0] - signal[-1])
    abar = torch.cat([torch.ones(1, dtype=torch.float64), signal.square()])
    return 1 - abar[1:] / abar[:-1]


def _linear_ends(num_timesteps: int) -> tuple[float, float]:
    scale = LINEAR_STEPS / num_timesteps
    return scale * LINEAR_FIRST, scale * LINEAR_LAST


def _cosine_sampled(num_timesteps: int) -> int:
    """The timesteps whose signal is at least exp(-4) of the noise."""
    angle = math.atan(math.exp(-LOWEST_LOG_RATIO))  # cos / sin of it is the limit
    start = COSINE_OFFSET / (1 + COSINE_OFFSET) * math.pi / 2
    u = math.acos(math.cos(angle) * math.cos(start)) / (math.pi / 2) * (1 + COSINE_OFFSET) - COSINE_OFFSET
    return math.floor(u * num_timesteps)


def _linear_for_diffusers(num_timesteps: int) -> dict[str, Any]:
    first, last = _linear_ends(num_timesteps)
    return {"beta_schedule": "linear", "beta_start": first, "beta_end": last}


PAPER_SCHEDULE: Final = "linear"

SCHEDULES: dict[str, Schedule] = {
    row.name: row
    for row in (
        Schedule(
            name="linear",
            label="linear betas",
            betas=linear_betas,
            fewest=21,  # the last beta, 20 / T, is below 1
            sampled=lambda total: total,
            note="the paper's (Ho et al. 2020)",
            diffusers=_linear_for_diffusers,
        ),
        Schedule(
            name="cosine",
            label="cosine",
            betas=cosine_betas,
            fewest=4,  # of which one can start from noise
            sampled=_cosine_sampled,
            note="less noise at most timesteps (Nichol and Dhariwal 2021, equation 17)",
            diffusers=lambda _: {"beta_schedule": "squaredcos_cap_v2"},
        ),
        Schedule(
            name="zero-snr",
            label="linear betas, rescaled to zero terminal SNR",
            betas=zero_snr_betas,
            fewest=21,
            sampled=lambda total: total,
            note="ends in noise alone, where samplers start (Lin et al. 2023); ddim starts a stride below",
            ends_in_noise=True,
            diffusers=lambda total: _linear_for_diffusers(total) | {"rescale_betas_zero_snr": True},
        ),
    )
}
"""Every schedule that a study can name (config key ``diffusion.schedule``)."""
