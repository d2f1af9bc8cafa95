"""How fast a device samples, encodes and decodes: the stages around training, with random weights and numbers."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from dit_scaling.common.devices import arithmetic
from dit_scaling.diffusion.process import PAPER_PROCESS, create_diffusion
from dit_scaling.diffusion.samplers import SamplingOptions
from dit_scaling.latents.autoencoder import decode, encode_moments, for_encoding
from dit_scaling.models import create_model
from dit_scaling.plan.network_costs import Autoencoder
from dit_scaling.plan.rates import SAMPLING_STEPS
from dit_scaling.sampling.one_shape import compiled_sampler
from dit_scaling.variants import AnyVariant

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

STEPS = 4  # of a measured chain; all steps cost the same


def measure_sampling(
    variant: AnyVariant,
    shape: tuple[int, int, int],
    num_classes: int,
    batch: int,
    precision: str,
    device: torch.device,
    seconds: float,
    *,
    compile: bool = False,
    graphs: bool = False,
    guidance: float = 1.0,
) -> float:
    """Images a second of the paper's sampler with 250 steps.

    Args:
        variant: with random weights.
        shape: (C, H, W) of a latent.
        num_classes: of the labels.
        batch: images at a time.
        precision: float32, tf32 or bfloat16.
        device: where to sample.
        seconds: for how long.
        compile: whether the network is compiled,
        graphs: and launched as a CUDA graph.
        guidance: its scale; 1.0 is none.
    """
    torch.manual_seed(0)
    model = create_model(variant, shape[1], num_classes, shape[0]).to(device).eval()
    denoiser = compiled_sampler(model, graphs=graphs) if compile else model
    how = SamplingOptions(steps=STEPS, guidance_scale=guidance)
    diffusion, noise = create_diffusion(PAPER_PROCESS), torch.randn(batch, *shape, device=device)
    labels = torch.arange(batch, device=device) % num_classes

    def run() -> None:
        with arithmetic(precision, device):
            diffusion.sample(denoiser, noise, labels, how)

    return batch * STEPS / SAMPLING_STEPS * _rate(run, device, seconds)


def measure_autoencoder(
    shape: Autoencoder, size: int, batch: int, device: torch.device, seconds: float, precision: str = "tf32"
) -> tuple[float, float]:
    """Images of ``size`` x ``size`` encoded, in ``precision``, and decoded a second, as the stages do it."""
    vae = _random_autoencoder(shape)
    images = np.random.default_rng(0).integers(0, 256, (batch, size, size, shape.channels), dtype=np.uint8)
    small = size // 2 ** (len(shape.blocks) - 1)
    latents = torch.randn(batch, shape.latent_channels, small, small)
    encoder = for_encoding(vae, device)
    encoded = batch * _rate(lambda: encode_moments(encoder, images, precision), device, seconds)
    return encoded, batch * _rate(lambda: decode(encoder, latents, batch), device, seconds)


def _random_autoencoder(shape: Autoencoder) -> "AutoencoderKL":
    from diffusers import AutoencoderKL  # Costs several seconds: only where it is used.

    torch.manual_seed(0)
    levels = len(shape.blocks)
    return AutoencoderKL(
        in_channels=shape.channels,
        out_channels=shape.channels,
        latent_channels=shape.latent_channels,
        block_out_channels=shape.blocks,
        layers_per_block=shape.layers,
        norm_num_groups=min(32, *shape.blocks),
        mid_block_add_attention=shape.attention,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
    ).eval()


def _rate(run: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Calls a second, after one that is not counted."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    run()
    wait()
    started, calls, elapsed = time.perf_counter(), 0, 0.0
    while elapsed < seconds:
        run()
        wait()
        calls, elapsed = calls + 1, time.perf_counter() - started
    return calls / elapsed
