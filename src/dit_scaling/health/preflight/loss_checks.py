"""Does the loss start where it must, and read the right channels?"""

import torch
from torch import Tensor

from dit_scaling.config.stages import TrainSettings
from dit_scaling.diffusion import GaussianDiffusion
from dit_scaling.health.check import Check, at_most, within
from dit_scaling.health.preflight.batch_checks import Draws
from dit_scaling.training.initial import initial_model

SAMPLES = 1024


def check_loss(draws: Draws, settings: TrainSettings) -> list[Check]:
    """The untrained network on real batches, and a network that knows the noise."""
    diffusion, model = GaussianDiffusion(), initial_model(settings)
    x0, t, y, noise = (column[:SAMPLES] for column in (draws.x0, draws.t, draws.y, draws.noise))
    y = y.clamp(0, settings.num_classes)
    with torch.no_grad():
        output = torch.cat([model(a, b, c) for a, b, c in zip(x0.split(128), t.split(128), y.split(128), strict=True)])
        start = diffusion.training_losses(lambda *_: output, x0, t, y, noise)["loss"].mean()

    def knows_the_noise(_x: Tensor, _t: Tensor, _y: Tensor) -> Tensor:
        return torch.cat([noise, torch.full_like(noise, 0.5)], dim=1)

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
            0.97,
            1.1,
            "noise, schedule or variational bound are not the paper's, whose loss starts at about 1.01",
        ),
        at_most(
            "noise channels in the loss",
            float(error),
            1e-6,
            "the loss does not read the predicted noise from the first half of the network's channels (its squared "
            "error where that half is exact)",
        ),
    ]
