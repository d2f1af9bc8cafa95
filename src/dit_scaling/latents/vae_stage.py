"""The vae stage: an autoencoder trained on the study's images, or a given one, with its record and its losses."""

import math
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from dit_scaling.common.files import atomic_path, write_json
from dit_scaling.common.progress import track
from dit_scaling.config.stages import VaeSettings
from dit_scaling.config.vae_settings import TrainedVae
from dit_scaling.data.sources import open_source, read_images
from dit_scaling.data.split import split_indices
from dit_scaling.latents.autoencoder import decode, encode_moments, load_vae, weights_sha256
from dit_scaling.latents.vae_training import train_vae

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

REPORTED_IMAGES = 1000
PICTURED_IMAGES = 10
BATCH = 50


def make_vae(
    settings: VaeSettings,
    output_json: Path,
    folder: Path,
    picture: Path,
    device: torch.device,
    log_seconds: float = 10.0,
) -> None:
    """Train an autoencoder into ``folder``, or adopt the given one in it untouched; picture and record come last.

    Args:
        settings: of this stage.
        output_json: the record: where the autoencoder is, its scale, its weights' digest and its losses on held-out
            images. Read it with `open_vae`.
        folder: the autoencoder's diffusers folder; read only where it is a given one.
        picture: PNG of held-out images over their reconstructions.
        device: where to compute.
        log_seconds: seconds between two lines of progress.

    Raises:
        UserError: the images or the given autoencoder are not what the config says, or training diverges.
    """
    started = time.monotonic()
    config, data = settings.vae, settings.data
    source = open_source(data.data)
    train, held_out = split_indices(len(source), data.data.held_out, data.seed)
    if isinstance(config, TrainedVae):
        vae = train_vae(config, source, train, folder, seed=data.seed, device=device, log_seconds=log_seconds)
        location = Path(os.path.relpath(folder, output_json.parent)).as_posix()
    else:
        vae = load_vae(folder, config.latent_channels, config.downsampling).to(device)
        location = str(folder.resolve())
    originals = read_images(source, held_out[:REPORTED_IMAGES])
    reconstructions = reconstruct(vae, originals, log_seconds)
    write_picture(picture, originals[:PICTURED_IMAGES], reconstructions[:PICTURED_IMAGES])
    write_json(
        output_json,
        {
            "source": config.source,
            "folder": location,
            "scaling_factor": vae.config.scaling_factor,
            "latent_channels": config.latent_channels,
            "downsampling": config.downsampling,
            "parameters": sum(weight.numel() for weight in vae.parameters()),
            "weights_sha256": weights_sha256(vae),
            "held_out": reconstruction_report(originals, reconstructions),
            "settings_digest": settings.digest,
            "seconds": round(time.monotonic() - started, 1),
        },
    )


def reconstruct(vae: "AutoencoderKL", images: NDArray[np.uint8], log_seconds: float = 10.0) -> NDArray[np.uint8]:
    """Decode the posterior means of images, uint8 (N, H, W, C), to images of the same shape."""
    parts = np.array_split(images, -(-len(images) // BATCH))
    decoded = []
    for part in track(parts, len(parts), "reconstruction, batch", log_seconds):
        mean = np.split(encode_moments(vae, part), 2, axis=1)[0]
        decoded.append(decode(vae, torch.from_numpy(mean) * vae.config.scaling_factor, BATCH, images.shape[-1]))
    return np.concatenate(decoded)


def reconstruction_report(originals: NDArray[np.uint8], reconstructions: NDArray[np.uint8]) -> dict[str, float]:
    """Number of images, mean squared error of pixels in [-1, 1], and PSNR in dB for that range (width 2)."""
    error = (originals.astype(np.float64) - reconstructions) / 127.5
    mse = float(np.mean(error**2))
    return {"images": len(originals), "mse": mse, "psnr": 10 * math.log10(4 / max(mse, 1e-12))}


def write_picture(path: Path, originals: NDArray[np.uint8], reconstructions: NDArray[np.uint8]) -> None:
    """Write a PNG: originals in the upper row, their reconstructions below."""
    rows = [np.concatenate(list(images), axis=1) for images in (originals, reconstructions)]
    grid = np.concatenate(rows, axis=0)
    with atomic_path(path) as temporary:
        Image.fromarray(grid.squeeze(axis=2) if grid.shape[2] == 1 else grid).save(temporary)
