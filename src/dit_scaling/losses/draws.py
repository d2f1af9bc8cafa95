"""Timesteps and noise of the held-out loss, as functions of (seed, image) alone.

Every network meets the same noised images, so that differences of two networks are paired.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dit_scaling.diffusion.base import Process
from dit_scaling.latents.reader import LatentReader
from dit_scaling.losses.loss_names import BATCH
from dit_scaling.training.batches import seed_for

GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Draws:
    """A batch of images, each drawn K + 1 times: draw 0 is for the first timestep, the others for ``t``."""

    x0: Tensor
    """(K + 1, N, C, H, W) latents, each a draw of the VAE's posterior, scaled."""
    noise: Tensor
    """(K + 1, N, C, H, W) standard normal."""
    t: Tensor
    """(K + 1, N) times of the process, of ddpm int64 timesteps; row 0 is the least noisy one."""
    y: Tensor
    """(N,) int64 labels."""


def stratified_timesteps(images: NDArray[np.int64], draws: int, num_timesteps: int, seed: int) -> NDArray[np.int64]:
    """Timesteps (draws, N): draw k of each image lies in the k-th of ``draws`` equal parts of all timesteps.

    t_k = floor(T (k + u) / K). The place u within the parts is that of the image: u = u_0 + image * golden ratio,
    modulo 1, which is spread more evenly over the images than random numbers, and uniform over the seeds.
    """
    start = seed_for("timesteps of the held-out loss", seed) / 2**63
    place = (start + images * GOLDEN) % 1.0
    return np.floor(num_timesteps * (np.arange(draws)[:, None] + place) / draws).astype(np.int64)


def draw_batches(reader: LatentReader, images: int, draws: int, process: Process, seed: int) -> Iterator[Draws]:
    """The first ``images`` of a split in batches, on the CPU; a split is in random order."""
    labels = torch.from_numpy(np.asarray(reader.labels, dtype=np.int64))
    for start in range(0, images, BATCH):
        indices = np.arange(start, min(start + BATCH, images))
        moments = torch.from_numpy(reader.moments(indices)[:, 0]).float()  # (N, 2C, H, W), not mirrored
        mean, log_variance = moments.chunk(2, dim=1)
        shape = (2, draws + 1, *mean.shape[1:])
        generators = [torch.Generator().manual_seed(seed_for("held-out loss", seed, int(i))) for i in indices]
        normal = torch.stack([torch.randn(shape, generator=generator) for generator in generators], dim=2)
        posterior, noise = normal.unbind()  # (K + 1, N, C, H, W) each
        x0 = (mean + torch.exp(0.5 * log_variance) * posterior) * reader.manifest.scale
        places = stratified_timesteps(indices, draws, len(process.training_times), seed)
        t = process.training_times[torch.from_numpy(places)]
        first = torch.full_like(t[:1], process.time_at(0.0))
        yield Draws(x0, noise, torch.cat([first, t]), labels[indices])
