"""Does the loss start where it must, and read the right channels?"""

import math

import torch
from torch import Tensor

from dit_scaling.config.stages import TrainSettings
from dit_scaling.diffusion.base import Process
from dit_scaling.diffusion.gaussian import GaussianDiffusion
from dit_scaling.diffusion.process import OBJECTIVES
from dit_scaling.health.check import Check, at_most, within
from dit_scaling.health.preflight.batch_checks import Draws
from dit_scaling.training.initial import initial_model

SAMPLES = 1024


def check_loss(diffusion: Process, draws: Draws, settings: TrainSettings) -> list[Check]:
    """The untrained network on real batches, and a network that knows the target."""
    model = initial_model(settings)
    x0, t, y, noise = (column[:SAMPLES] for column in (draws.x0, draws.t, draws.y, draws.noise))
    y = y.clamp(0, settings.num_classes)
    with torch.no_grad():
        output = torch.cat([model(a, b, c) for a, b, c in zip(x0.split(128), t.split(128), y.split(128), strict=True)])
        start = diffusion.training_losses(lambda *_: output, x0, t, y, noise)["loss"].mean()

    target = diffusion.level(t).like(x0).target(x0, noise)

    def knows_the_target(_x: Tensor, _t: Tensor, _y: Tensor) -> Tensor:
        return torch.cat([target, torch.full_like(target, 0.5)], dim=1)

    expected = untrained_loss(diffusion, t, x0, noise)
    error = diffusion.training_losses(knows_the_target, x0, t, y, noise)["mse"].mean()
    return [
        at_most(
            "untrained output",
            float(output.abs().max()),
            0.0,
            "the final layer does not start at zero (adaLN-Zero): weights were loaded or drawn that should not be",
        ),
        within(
            "untrained loss",
            float(start),
            0.96 * expected,
            1.09 * expected,
            "noise, schedule or variational bound are not those of the process, whose loss starts at about "
            f"{expected:.2f}",
        ),
        at_most(
            f"{OBJECTIVES[diffusion.settings.objective].target} channels in the loss",
            float(error),
            1e-6,
            "the loss does not read the prediction from the first half of the network's channels (its squared "
            "error where that half is exact)",
        ),
    ]


def untrained_loss(diffusion: Process, t: Tensor, x0: Tensor, noise: Tensor) -> float:
    """The loss of a network whose output is zero: the target's power, and the bound that trains a variance.

    Args:
        diffusion: the process.
        t: (N,) times.
        x0: (N, C, H, W) latents.
        noise: (N, C, H, W).
    """
    level = diffusion.level(t)
    data, drawn, both = (part.double().mean(dim=(1, 2, 3)) for part in (x0.square(), noise.square(), x0 * noise))
    power = level.of_data**2 * data + level.of_noise**2 * drawn + 2 * level.of_data * level.of_noise * both
    if not isinstance(diffusion, GaussianDiffusion):
        return float(power.mean())
    kept = t > 0
    return float((power[kept] + untrained_bound(diffusion, t[kept], power[kept])).mean())


def untrained_bound(diffusion: GaussianDiffusion, t: Tensor, power: Tensor) -> Tensor:
    """The bound of a network whose output is zero, in bits (N,), by Bayes' rule from abar alone; for t > 0.

    The mean that it gives x_{t-1} is off by the posterior's weight of x_0 times the error of its x_0, and its variance
    has a logarithm midway between its bounds, the posterior's variance and beta_t.

    Args:
        diffusion: the process.
        t: (N,) int64 timesteps.
        power: (N,) mean square of the target, which is the error of the prediction.
    """
    abar, previous = diffusion.alphas_cumprod[t], diffusion.alphas_cumprod[t - 1]
    alpha = abar / previous
    beta = 1 - alpha
    posterior = 1 / (1 / (1 - previous) + alpha / beta)
    variance = (posterior * beta).sqrt()
    level = diffusion.level(t)
    off_x0 = level.noise**2 * power / (level.signal * level.of_noise - level.noise * level.of_data) ** 2
    off = (beta / (1 - abar)) ** 2 * previous * off_x0
    divergence = 0.5 * ((variance / posterior).log() + (posterior + off) / variance - 1)
    return divergence / math.log(2)
