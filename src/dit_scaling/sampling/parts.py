"""The sampling stage: one part of the images of one checkpoint."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dit_scaling.common.devices import matrix_products
from dit_scaling.common.errors import UserError
from dit_scaling.common.lacking_memory import memory_named
from dit_scaling.common.progress import track
from dit_scaling.config.stages import SampleSettings
from dit_scaling.diffusion.base import Process
from dit_scaling.diffusion.denoiser import Denoiser
from dit_scaling.diffusion.process import PAPER_OBJECTIVE, PAPER_PROCESS, AnyProcess, create_diffusion
from dit_scaling.diffusion.samplers import SamplingOptions
from dit_scaling.diffusion.walk import Step
from dit_scaling.latents.autoencoder import decode, open_vae
from dit_scaling.models.checkpoints import has_null_class, load_checkpoint
from dit_scaling.models.compiling import compiler_errors
from dit_scaling.sampling.bfloat16 import InBfloat16
from dit_scaling.sampling.images import FIRST, Samples, write_grid, write_samples
from dit_scaling.sampling.one_shape import compiled_sampler
from dit_scaling.sampling.sample_noise import SampleNoise, part_indices, sample_labels


@dataclass(frozen=True)
class PartFiles:
    """What one part is made of, and what it makes."""

    checkpoint: Path
    vae: Path
    """The autoencoder's record, vae.json."""
    samples: Path
    """All images of the part, npz."""
    first: Path
    """The first few again, npz: small, and there where the part itself is not kept. The report shows them."""
    grid: Path
    """A hundred as a picture."""


def sample_part(
    settings: SampleSettings,
    part: int,
    files: PartFiles,
    batch_size: int,
    device: torch.device,
    log_seconds: float,
    *,
    graphs: bool = False,
) -> None:
    """Sample the images of one part, ``batch_size`` at a time.

    Noise and label of each image follow from (seed, index), so the parts together are the same images
    whatever ``parts``, ``batch_size`` or the device's number. ``graphs``: as `compiled` takes it, where the settings
    compile.

    Raises:
        UserError: the checkpoint or the VAE is not what the settings say, the memory is not enough, or images come out
            as NaN.
    """
    checkpoint = files.checkpoint
    model, header = load_checkpoint(checkpoint, num_classes=settings.num_classes)
    model.to(device)
    if model.num_classes != settings.num_classes:
        raise UserError(f"{checkpoint} knows {model.num_classes} classes, but the study has {settings.num_classes}.")
    if settings.guidance_scale != 1.0 and not has_null_class(model):
        raise UserError(
            f"{checkpoint} has no null class ({settings.num_classes} rows in its label table), and cannot be guided "
            f"at scale {settings.guidance_scale:g}. Set sampling.guidance_scales: [1.0]."
        )
    # Released weights do not say what they are of: those of SiT have the names and shapes of DiT's.
    silent = header.settings_digest is None and header.diffusion == PAPER_PROCESS
    if header.diffusion != settings.diffusion and not (silent and settings.diffusion.objective != PAPER_OBJECTIVE):
        raise UserError(
            f"{checkpoint} was trained with {_named(header.diffusion)}, but the study says "
            f"{_named(settings.diffusion)}. Set the config's diffusion and training.objective to those of the weights."
        )
    denoiser = compiled_sampler(model, graphs=graphs) if settings.compile else model
    diffusion = create_diffusion(settings.diffusion)
    vae = open_vae(files.vae).to(device)
    if model.in_channels != vae.config.latent_channels:
        raise UserError(
            f"{checkpoint} makes latents of {model.in_channels} channels, but the autoencoder of {files.vae} has "
            f"{vae.config.latent_channels}. Rerun the train stage."
        )
    indices = part_indices(settings, part)
    labels = sample_labels(indices, settings.num_classes, settings.labels, settings.seed)
    batches = [slice(start, start + batch_size) for start in range(0, len(indices), batch_size)]
    images = []
    for some in track(batches, len(batches), f"sampling {files.samples.parent.parent}", log_seconds):
        noise = SampleNoise(
            settings.seed, indices[some], (model.in_channels, model.input_size, model.input_size), device
        )
        memory = memory_named(f"sampling {checkpoint}", "resources.sample_batch", batch_size, "images")
        with memory, compiler_errors("sampling.compile"):
            latents = sample_latents(diffusion, denoiser, settings, noise, torch.from_numpy(labels[some]).to(device))
            if not torch.isfinite(latents).all():
                raise UserError(
                    f"{checkpoint}: sampling gave NaN or infinite latents. Score an earlier milestone instead."
                )
            images.append(decode(vae, latents, batch_size, settings.image_channels))
    samples = Samples(np.concatenate(images), labels, indices)
    write_grid(files.grid, samples.images[:100], columns=10)
    write_samples(files.first, Samples(samples.images[:FIRST], labels[:FIRST], indices[:FIRST]))
    write_samples(files.samples, samples)


def _named(process: AnyProcess) -> str:
    return f"objective {process.objective}, diffusion: {process.model_dump(exclude={'objective'})}"


def sample_latents(
    diffusion: Process,
    model: Denoiser,
    settings: SampleSettings,
    noise: SampleNoise,
    labels: Tensor,
    observe: Callable[[Step], object] | None = None,
) -> Tensor:
    """Latents (N, C, H, W) of the given labels (N,), each from its own stream of noise; ``observe`` sees each step."""
    how = SamplingOptions(
        settings.sampler, settings.steps, settings.guidance_scale, guidance_channels=settings.guidance_channels
    )
    with matrix_products(settings.precision):
        denoiser = InBfloat16(model) if settings.precision == "bfloat16" else model
        return diffusion.sample(denoiser, noise(), labels, how, noise, observe)
