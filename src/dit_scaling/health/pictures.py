"""What a network makes, as pictures: samples, one-step predictions, and the way from noise to image."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dit_scaling.config.stages import SampleSettings
from dit_scaling.diffusion.base import Process
from dit_scaling.diffusion.walk import Step
from dit_scaling.models import Network
from dit_scaling.sampling.parts import sample_latents
from dit_scaling.sampling.sample_noise import SampleNoise, sample_labels

Images = NDArray[np.uint8]
SHOWN_STEPS = 8
BEYOND = 1000.0  # standard deviations: no latent, but what a walk that diverges arrives at


@dataclass(frozen=True)
class Picture:
    """A grid of images (N, H, W, C) with ``columns`` and a sentence."""

    title: str
    images: Images
    columns: int


def draw_samples(
    diffusion: Process,
    model: Network,
    settings: SampleSettings,
    count: int,
    observe: Callable[[Step], object] | None = None,
) -> Tensor:
    """Latents (count, C, H, W) of the study's first samples, by its own sampler, each step of which can be observed."""
    device = next(model.parameters()).device
    indices = np.arange(count)
    labels = torch.from_numpy(sample_labels(indices, settings.num_classes, settings.labels, settings.seed)).to(device)
    noise = SampleNoise(settings.seed, indices, (model.in_channels, model.input_size, model.input_size), device)
    return sample_latents(diffusion, model, settings, noise, labels, observe)


def plausible(latents: Tensor) -> Tensor:
    """Where latents are numbers that could be latents."""
    return latents.abs() < BEYOND


def decodable(latents: Tensor) -> Tensor:
    """Latents with zero in place of what is none, which an autoencoder would make NaN of."""
    return torch.where(plausible(latents), latents, 0.0)


def draw_trajectory(
    diffusion: Process, model: Network, settings: SampleSettings, count: int
) -> tuple[list[float], Tensor]:
    """x_0 as predicted on the sampler's way, at SHOWN_STEPS of its timesteps from the noisiest on.

    Returns:
        The timesteps, and the latents (SHOWN_STEPS, count, C, H, W).
    """
    timesteps = diffusion.respaced(settings.steps, settings.sampler).timesteps.tolist()
    shown = {timesteps[round(index)] for index in np.linspace(0, len(timesteps) - 1, SHOWN_STEPS)}
    seen: dict[float, Tensor] = {}

    def look(step: Step) -> None:
        if step.timestep in shown:
            seen[step.timestep] = step.pred_x0

    draw_samples(diffusion, model, settings, count, look)
    return list(seen), torch.stack(list(seen.values())).clone()
