"""The sampling stage: one part of the images of one checkpoint."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dit_scaling.common.devices import matrix_products, memory_named
from dit_scaling.common.errors import UserError
from dit_scaling.common.progress import track
from dit_scaling.config.stages import SampleSettings
from dit_scaling.diffusion import GaussianDiffusion
from dit_scaling.diffusion.samplers import Denoiser
from dit_scaling.latents.autoencoder import decode, open_vae
from dit_scaling.models.checkpoints import load_model
from dit_scaling.sampling.images import FIRST, Samples, write_grid, write_samples
from dit_scaling.sampling.sample_noise import SampleNoise, part_indices, sample_labels


def sample_part(
    settings: SampleSettings,
    part: int,
    checkpoint: Path,
    vae_record: Path,
    output: Path,
    first: Path,
    grid: Path,
    batch_size: int,
    device: torch.device,
    log_seconds: float,
) -> None:
    """Sample the images of one part; write them as npz, the first few again beside it, and a hundred as a picture.

    ``first`` is small and stays where the part itself is not kept: it is what the report shows.

    Noise and label of each image follow from (seed, index), so the parts together are the same images
    whatever ``parts``, ``batch_size`` or the device's number.

    Raises:
        UserError: the checkpoint or the VAE is not what the settings say, the memory is not enough, or images come out
            as NaN.
    """
    model = load_model(checkpoint).to(device)
    if model.num_classes != settings.num_classes:
        raise UserError(f"{checkpoint} knows {model.num_classes} classes, but the study has {settings.num_classes}.")
    vae = open_vae(vae_record).to(device)
    if model.in_channels != vae.config.latent_channels:
        raise UserError(
            f"{checkpoint} makes latents of {model.in_channels} channels, but the autoencoder of {vae_record} has "
            f"{vae.config.latent_channels}. Rerun the train stage."
        )
    indices = part_indices(settings, part)
    labels = sample_labels(indices, settings.num_classes, settings.labels, settings.seed)
    batches = [slice(start, start + batch_size) for start in range(0, len(indices), batch_size)]
    images = []
    for some in track(batches, len(batches), f"sampling {output.parent.parent}", log_seconds):
        noise = SampleNoise(
            settings.seed, indices[some], (model.in_channels, model.input_size, model.input_size), device
        )
        with memory_named(f"sampling {checkpoint}", "resources.sample_batch", batch_size, "images"):
            latents = sample_latents(model, settings, noise, torch.from_numpy(labels[some]).to(device))
            if not torch.isfinite(latents).all():
                raise UserError(
                    f"{checkpoint}: sampling gave NaN or infinite latents. Score an earlier milestone instead."
                )
            images.append(decode(vae, latents, batch_size, settings.image_channels))
    samples = Samples(np.concatenate(images), labels, indices)
    write_grid(grid, samples.images[:100], columns=10)
    write_samples(first, Samples(samples.images[:FIRST], labels[:FIRST], indices[:FIRST]))
    write_samples(output, samples)


def sample_latents(model: Denoiser, settings: SampleSettings, noise: SampleNoise, labels: Tensor) -> Tensor:
    """Latents (N, C, H, W) of the given labels (N,), each from its own stream of noise."""
    diffusion = GaussianDiffusion()
    sample = diffusion.sample_ddim if settings.sampler == "ddim" else diffusion.sample
    with matrix_products(settings.precision):
        return sample(
            model,
            noise(),
            labels,
            settings.steps,
            settings.guidance_scale,
            guidance_channels=settings.guidance_channels,
            step_noise=noise,
        )
