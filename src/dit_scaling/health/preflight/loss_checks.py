"""Does the loss start where it must, and read the right channels?"""

import math

import torch
from torch import Tensor

from dit_scaling.config.stages import TrainSettings
from dit_scaling.diffusion.gaussian import GaussianDiffusion
from dit_scaling.health.check import Check, at_most, within
from dit_scaling.health.preflight.batch_checks import Draws
from dit_scaling.training.initial import initial_model

SAMPLES = 1024


def check_loss(diffusion: GaussianDiffusion, draws: Draws, settings: TrainSettings) -> list[Check]:
    """The untrained network on real batches, and a network that knows the noise."""
    model = initial_model(settings)
    x0, t, y, noise = (column[:SAMPLES] for column in (draws.x0, draws.t, draws.y, draws.noise))
    y = y.clamp(0, settings.num_classes)
    with torch.no_grad():
        output = torch.cat([model(a, b, c) for a, b, c in zip(x0.split(128), t.split(128), y.split(128), strict=True)])
        start = diffusion.training_losses(lambda *_: output, x0, t, y, noise)["loss"].mean()

    def knows_the_noise(_x: Tensor, _t: Tensor, _y: Tensor) -> Tensor:
        return torch.cat([noise, torch.full_like(noise, 0.5)], dim=1)

    expected = untrained_loss(diffusion, t, noise)
    error = diffusion.training_losses(knows_the_noise, x0, t, y, noise)["mse"].mean()
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
            "noise channels in the loss",
            float(error),
            1e-6,
            "the loss does not read the predicted noise from the first half of the network's channels (its squared "
            "error where that half is exact)",
        ),
    ]


def untrained_loss(diffusion: GaussianDiffusion, t: Tensor, noise: Tensor) -> float:
    """The loss of a network whose output is zero, by Bayes' rule from abar alone; without t = 0, which hardly counts.

    It predicts no noise, so the mean that it gives x_{t-1} is off by beta_t / sqrt(alpha_t (1 - abar_t)) times the
    noise, and a variance whose logarithm is midway between its bounds, the posterior's variance and beta_t.

    Args:
        diffusion: the process.
        t: (N,) int64 timesteps.
        noise: (N, C, H, W).
    """
    power = noise.double().square().mean(dim=(1, 2, 3))[t > 0]
    t = t[t > 0]
    abar, previous = diffusion.alphas_cumprod[t], diffusion.alphas_cumprod[t - 1]
    alpha = abar / previous
    beta = 1 - alpha
    posterior = 1 / (1 / (1 - previous) + alpha / beta)
    variance = (posterior * beta).sqrt()
    off = beta.square() / (alpha * (1 - abar)) * power
    divergence = 0.5 * ((variance / posterior).log() + (posterior + off) / variance - 1)
    return float((power + divergence / math.log(2)).mean())
