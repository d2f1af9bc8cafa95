"""What a network makes, as pictures: samples, one-step predictions, and the ladder from noise to image."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dit_scaling.config.stages import SampleSettings
from dit_scaling.diffusion import GaussianDiffusion
from dit_scaling.diffusion.samplers import evaluating, guided
from dit_scaling.models import Network
from dit_scaling.sampling.parts import sample_latents
from dit_scaling.sampling.sample_noise import SampleNoise, sample_labels

Images = NDArray[np.uint8]
Decode = Callable[[Tensor], Images]
RUNGS = 8
BEYOND = 1000.0  # standard deviations: no latent, but what a walk that diverges arrives at


@dataclass(frozen=True)
class Picture:
    """A grid of images (N, H, W, C) with ``columns`` and a sentence."""

    title: str
    images: Images
    columns: int


def draw_samples(model: Network, settings: SampleSettings, count: int) -> tuple[Tensor, Tensor]:
    """Latents (count, C, H, W) and labels (count,) of the study's first samples, by its own sampler."""
    device = next(model.parameters()).device
    indices = np.arange(count)
    labels = torch.from_numpy(sample_labels(indices, settings.num_classes, settings.labels, settings.seed)).to(device)
    noise = SampleNoise(settings.seed, indices, (model.in_channels, model.input_size, model.input_size), device)
    return sample_latents(model, settings, noise, labels), labels


def plausible(latents: Tensor) -> Tensor:
    """Where latents are numbers that could be latents."""
    return latents.abs() < BEYOND


def decodable(latents: Tensor) -> Tensor:
    """Latents with zero in place of what is none, which an autoencoder would make NaN of."""
    return torch.where(plausible(latents), latents, 0.0)


def draw_ladder(model: Network, settings: SampleSettings, count: int) -> tuple[list[int], Tensor]:
    """x_0 as predicted at RUNGS timesteps of the sampler's walk, from the most noisy: (RUNGS, count, C, H, W)."""
    device = next(model.parameters()).device
    chain = GaussianDiffusion().respaced(settings.steps)
    labels = torch.arange(count, device=device) % settings.num_classes
    noise = SampleNoise(
        settings.seed, np.arange(count), (model.in_channels, model.input_size, model.input_size), device
    )
    shown = {round(index) for index in np.linspace(0, len(chain) - 1, RUNGS)}
    timesteps, rungs, x = [], [], noise()
    with evaluating(model):
        predict = guided(model, settings.guidance_scale, settings.guidance_channels)
        for index in reversed(range(len(chain))):
            t = int(chain.timesteps[index])
            mean, log_variance, x0 = chain.p_mean_variance(predict(x, torch.full_like(labels, t), labels), x, index)
            x = mean + torch.exp(0.5 * log_variance) * noise() if index else mean
            if index in shown:
                timesteps.append(t)
                rungs.append(x0)
    return timesteps, torch.stack(rungs).clone()
