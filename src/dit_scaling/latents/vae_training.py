"""Training a small autoencoder on a study's own images."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import atomic_folder
from dit_scaling.common.lacking_memory import memory_named
from dit_scaling.common.progress import track
from dit_scaling.config.vae_settings import TrainedVae
from dit_scaling.data.sources import ImageSource, read_images
from dit_scaling.latents.autoencoder import encode_moments, to_unit_range

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

logger = logging.getLogger(__name__)

WARMUP_FRACTION = 0.1
GRADIENT_NORM = 1.0
ENCODE_BATCH = 64


def train_vae(
    config: TrainedVae,
    source: ImageSource,
    indices: NDArray[np.int64],
    folder: Path,
    *,
    seed: int,
    device: torch.device,
    log_seconds: float = 10.0,
) -> "AutoencoderKL":
    """Train an AutoencoderKL on images ``indices`` of ``source`` and save it as a diffusers folder.

    AdamW with a one-cycle learning rate, see `vae_loss`. Its scaling factor makes the latents' overall standard
    deviation 1 over these images. The result depends on ``seed`` alone and is the same on every run on a CPU.

    Args:
        config: shape and recipe.
        source: the images.
        indices: int64 (N,), those to train on.
        folder: where it is saved; replaced as a whole, at the end.
        seed: of initial weights, order of the images and posterior draws.
        device: where to train.
        log_seconds: seconds between two lines of progress.

    Raises:
        UserError: an image is unreadable, the loss is not finite, or the memory is not enough.
    """
    vae = build_vae(config, source.image(int(indices[0])).shape[-1], seed)
    # Convolutions of few channels are a fifth faster in this layout; the weights go back to the usual one below.
    vae.to(device, memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(vae.parameters(), lr=config.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.learning_rate, total_steps=config.steps, pct_start=max(WARMUP_FRACTION, 2 / config.steps)
    )
    noise = torch.Generator(device).manual_seed(seed)
    batches = _batches(indices, config.batch_size, config.steps, seed)
    with memory_named("training the autoencoder", "vae.batch_size", config.batch_size, "images"):
        for step, batch in enumerate(track(batches, config.steps, "autoencoder, step", log_seconds), start=1):
            pixels = to_unit_range(read_images(source, batch), vae.config.in_channels)
            pixels = pixels.to(device, memory_format=torch.channels_last)
            loss = vae_loss(vae, pixels, config.kl_weight, noise)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            norm = torch.nn.utils.clip_grad_norm_(vae.parameters(), GRADIENT_NORM)
            if not torch.isfinite(norm):
                raise UserError(f"vae.learning_rate: {config.learning_rate} is too high: not finite at step {step}.")
            optimiser.step()
            schedule.step()
    vae.eval().requires_grad_(False).to(memory_format=torch.contiguous_format)
    vae.register_to_config(scaling_factor=measure_scale(vae, source, indices, log_seconds))
    with atomic_folder(folder) as temporary:
        vae.save_pretrained(temporary)
    return vae


def build_vae(config: TrainedVae, image_channels: int, seed: int) -> "AutoencoderKL":
    """An untrained AutoencoderKL of the configured shape, its weights drawn by ``seed``."""
    from diffusers import AutoencoderKL  # Costs several seconds: only where it is used.

    levels = len(config.block_channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoencoderKL(
            in_channels=image_channels,
            out_channels=image_channels,
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=config.block_channels,
            layers_per_block=1,
            latent_channels=config.latent_channels,
            norm_num_groups=config.norm_groups,
            mid_block_add_attention=False,
            act_fn="silu",
        )


def vae_loss(vae: "AutoencoderKL", pixels: torch.Tensor, kl_weight: float, noise: torch.Generator) -> torch.Tensor:
    """L1 + L2 + kl_weight * KL, means over pixels and, for the KL to the standard normal, over latent elements."""
    posterior = vae.encode(pixels).latent_dist
    reconstruction = vae.decode(posterior.sample(noise)).sample
    kl = 0.5 * (posterior.mean**2 + posterior.var - 1.0 - posterior.logvar).mean()
    error = reconstruction - pixels
    loss: torch.Tensor = error.abs().mean() + error.square().mean() + kl_weight * kl
    return loss


def measure_scale(
    vae: "AutoencoderKL", source: ImageSource, indices: NDArray[np.int64], log_seconds: float = 10.0
) -> float:
    """1 / standard deviation of all elements of posterior draws over these images (as in latent diffusion).

    The draws' moments are taken in closed form: E[z] = E[mean], E[z^2] = E[mean^2 + variance].
    """
    parts = np.array_split(indices, -(-len(indices) // ENCODE_BATCH))
    first = second = 0.0
    for part in track(parts, len(parts), "latent scale, batch", log_seconds):
        mean, logvar = np.split(encode_moments(vae, read_images(source, part)).astype(np.float64), 2, axis=1)
        weight = len(part) / len(indices)
        first += weight * float(mean.mean())
        second += weight * float((mean**2 + np.exp(logvar)).mean())
    deviation = float(np.sqrt(second - first**2))
    logger.info("standard deviation of the latents: %.4f", deviation)
    return 1.0 / deviation


def _batches(indices: NDArray[np.int64], size: int, steps: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """``steps`` batches; every image once per pass, each pass in an order of its own."""
    generator = np.random.default_rng(seed)
    size = min(size, len(indices))
    order = generator.permutation(indices)
    for _ in range(steps):
        if len(order) < size:
            order = generator.permutation(indices)
        yield order[:size]
        order = order[size:]
