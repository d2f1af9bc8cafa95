"""Every random draw of a training run as a function of (seed, step) alone.

Nothing here carries hidden state, so a run that is resumed, or split over ranks, sees the same samples,
timesteps, noise and label drops at the same step.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dit_scaling.config.stages import TrainSettings
from dit_scaling.latents.reader import LatentReader


def seed_for(*parts: int | str) -> int:
    """A 63-bit seed from a tuple of names and numbers; different tuples give unrelated streams."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


class EpochOrder:
    """Global shuffle: each epoch visits every sample once, in an order given by (seed, epoch)."""

    def __init__(self, count: int, seed: int) -> None:
        self._count = count
        self._seed = seed
        self._epoch = -1
        self._order: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def indices(self, step: int, batch_size: int) -> NDArray[np.int64]:
        """Indices (B,) of the samples of ``step``, counted from 0; a batch may straddle two epochs."""
        positions = np.arange(step * batch_size, (step + 1) * batch_size)
        epochs, offsets = np.divmod(positions, self._count)
        return np.concatenate([self._permutation(int(epoch))[offsets[epochs == epoch]] for epoch in np.unique(epochs)])

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        if epoch != self._epoch:
            self._order = np.random.default_rng([self._seed, epoch]).permutation(self._count)
            self._epoch = epoch
        return self._order


@dataclass(frozen=True)
class Batch:
    """One global batch; all but the timesteps on the training device."""

    x0: Tensor
    """Latents (B, C, H, W) float32, scaled to about unit variance."""
    t: Tensor
    """Timesteps (B,) int64 in 0..T-1, on the CPU, where the loss looks at them without waiting for a GPU."""
    y: Tensor
    """Labels (B,) int64; dropped ones are the null class."""
    noise: Tensor
    """Gaussian noise (B, C, H, W) float32."""


class BatchSource:
    """Draws the batch of any step from the stored moments."""

    def __init__(self, reader: LatentReader, settings: TrainSettings, num_timesteps: int, device: torch.device) -> None:
        self._reader = reader
        self._settings = settings
        self._num_timesteps = num_timesteps
        self._device = device
        self._order = EpochOrder(len(reader), settings.seed)
        self._labels = torch.from_numpy(np.asarray(reader.labels, dtype=np.int64))

    def batch(self, step: int) -> Batch:
        """The batch that takes the weights from ``step`` to ``step + 1``.

        x0 = scale * (mean + std * eps): a fresh draw of the VAE posterior at every visit, of the image or,
        where the settings say so, of its mirror with probability 1/2.
        """
        settings = self._settings
        size = settings.batch_size
        rng = torch.Generator().manual_seed(seed_for("train", settings.seed, step))
        t = torch.randint(self._num_timesteps, (size,), generator=rng)
        mirrored = torch.rand(size, generator=rng) < 0.5
        dropped = torch.rand(size, generator=rng) < settings.label_dropout
        shape = (size, settings.in_channels, settings.input_size, settings.input_size)
        posterior, noise = torch.randn((2, *shape), generator=rng)

        indices = self._order.indices(step, size)
        views = torch.from_numpy(self._reader.moments(indices))  # (B, 2, 2C, H, W)
        view = mirrored.long() if settings.mirror else torch.zeros(size, dtype=torch.long)
        mean, log_variance = views[torch.arange(size), view].float().chunk(2, dim=1)  # (B, C, H, W) each
        x0 = (mean + torch.exp(0.5 * log_variance) * posterior) * self._reader.manifest.scale
        y = torch.where(dropped, settings.num_classes, self._labels[indices])
        x0, y, noise = (tensor.to(self._device, non_blocking=True) for tensor in (x0, y, noise))
        return Batch(x0, t, y, noise)
