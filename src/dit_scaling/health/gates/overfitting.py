"""Whether a network has begun to learn its training images by heart: its loss on them beside that on held-out ones."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dit_scaling.diffusion.base import Process
from dit_scaling.diffusion.denoiser import Denoiser
from dit_scaling.health.check import Check, at_most
from dit_scaling.latents.manifest import read_manifest
from dit_scaling.latents.reader import LatentReader
from dit_scaling.losses.columns import mean_and_error
from dit_scaling.losses.draws import draw_batches
from dit_scaling.losses.image_losses import image_losses

IMAGES, DRAWS = 128, 5
"""Of each split: a look, which the study's own held-out loss makes sharper."""
GAP = 1.05
"""Held-out loss over training loss. Runs of 8 to 28 epochs on the digits are at 1.002 to 1.006."""
DEVIATIONS = 3.0


@dataclass(frozen=True)
class Fitted:
    """Mean ln ratio of an image's held-out loss to a training image's loss at the same timesteps and noise."""

    ln_ratio: float
    error: float
    """Its standard error over pairs of images."""


def measure_fit(manifest: Path, diffusion: Process, model: Denoiser, device: torch.device) -> Fitted | None:
    """Measure the first images of both splits; None where no image is held out.

    Raises:
        UserError: latents are missing or damaged.
    """
    if "held_out" not in read_manifest(manifest).splits:
        return None
    readers = [LatentReader(manifest, split) for split in ("train", "held_out")]
    images = min(IMAGES, *map(len, readers))
    training, held_out = (
        image_losses(diffusion, model, draw_batches(reader, images, DRAWS, diffusion, 0), device).mse
        for reader in readers
    )
    return Fitted(*mean_and_error(np.log(held_out / training)))


def check_overfitting(fitted: Fitted) -> Check:
    """Not a fault: the held-out loss is above the training loss by a share of it, and beyond chance."""
    return at_most(
        "held-out loss against training loss",
        math.exp(fitted.ln_ratio),
        max(GAP, math.exp(DEVIATIONS * fitted.error)),
        "the network overfits: it predicts the noise of images that it is trained on better than that of others, so "
        "its samples may be copies; train fewer epochs, or on more images",
    )
