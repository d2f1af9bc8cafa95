"""Does the VAE get what it was trained on, and give the images back?"""

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dit_scaling.health.check import Check, at_least, at_most, margin_between
from dit_scaling.latents import autoencoder
from dit_scaling.latents.vae_stage import reconstruct, reconstruction_report

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

BATCH = 16


def check_vae(vae: "AutoencoderKL", images: NDArray[np.uint8]) -> list[Check]:
    """Input range and channel order, scale of the decoder, and the round trip of ``images`` uint8 (N, H, W, C)."""
    return [*_check_input(vae, images.shape[1:]), _check_scale(vae, images[:BATCH]), _check_round_trip(vae, images)]


def encode_directly(vae: "AutoencoderKL", images: NDArray[np.uint8]) -> Tensor:
    """Posterior means (N, C, h, w) by the VAE alone: the yardstick for everything that encodes on the way."""
    return moments_directly(vae, images).chunk(2, dim=1)[0]


@torch.no_grad()
def moments_directly(vae: "AutoencoderKL", images: NDArray[np.uint8]) -> Tensor:
    """As `encode_directly`, with the log-variances: (N, 2C, h, w)."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    batches = pixels.expand(-1, vae.config.in_channels, -1, -1).split(BATCH)
    posteriors = (vae.encode(batch.to(vae.device)).latent_dist for batch in batches)
    return torch.cat([torch.cat([some.mean, some.logvar], dim=1).float().cpu() for some in posteriors])


def _check_input(vae: "AutoencoderKL", shape: tuple[int, ...]) -> list[Check]:
    """What arrives at the encoder when an image of all values from 0 to 255 is encoded."""
    image = np.random.default_rng(0).integers(0, 256, (1, *shape), dtype=np.uint8)
    image[0, 0, :2] = [[0], [255]]
    arrived: list[Tensor] = []
    hook = vae.encoder.register_forward_pre_hook(lambda _, inputs: arrived.append(inputs[0].detach().float().cpu()))
    try:
        autoencoder.encode_moments(vae, image)
    finally:
        hook.remove()
    pixels = arrived[0][0].numpy()  # (C, H, W)
    low, high = float(pixels.min()), float(pixels.max())
    wanted = np.broadcast_to(image[0].transpose(2, 0, 1), pixels.shape)
    agreement = min(
        float(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1]) for ours, theirs in zip(pixels, wanted, strict=True)
    )
    return [
        Check(
            "VAE input range",
            f"[{low:.3f}, {high:.3f}]",
            "[-1, 1]",
            abs(low + 1) < 1e-3 and abs(high - 1) < 1e-3,
            "pixels are not scaled to [-1, 1] before the VAE; fed [0, 1] it sees pale pictures, and latents that are "
            "not those it decodes",
            margin_between((low + 1, high - 1), -1e-3, 1e-3),
        ),
        at_least(
            "VAE input channels",
            agreement,
            0.999,
            "the VAE gets its colour channels in another order than red, green, blue, or the image turned or mirrored",
        ),
    ]


def _check_scale(vae: "AutoencoderKL", images: NDArray[np.uint8]) -> Check:
    """Decoding scale * z must be the VAE's own decoding of z."""
    mean, channels = encode_directly(vae, images), images.shape[-1]
    with torch.no_grad():
        pixels = vae.decode(mean.to(vae.device)).sample
    direct = autoencoder.to_uint8(pixels.mean(dim=1, keepdim=True) if channels == 1 else pixels)
    ours = autoencoder.decode(vae, mean * vae.config.scaling_factor, BATCH, channels)
    return at_most(
        "decoder scale",
        float(np.abs(ours.astype(float) - direct).mean()),
        1.0,
        "latents are not divided by the VAE's scaling factor exactly once before they are decoded (mean difference in "
        "grey levels of 255)",
    )


def _check_round_trip(vae: "AutoencoderKL", images: NDArray[np.uint8]) -> Check:
    """Squared error of the reconstructions, as a share of that of the images' mean."""
    reconstructed = reconstruct(vae, images)
    average = np.broadcast_to(images.mean(axis=0).round().astype(np.uint8), images.shape)
    error = reconstruction_report(images, reconstructed)["mse"]
    return at_most(
        "VAE round trip",
        error / reconstruction_report(images, average)["mse"],
        0.5,
        "the VAE does not give the images back (squared error over that of their mean): wrong weights, wrong input "
        "range, or one trained far too little",
    )
