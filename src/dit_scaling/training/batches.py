"""Every random draw of a training run as a function of (seed, step) alone.

Nothing here carries hidden state, so a run that is resumed, or split over ranks, sees the same samples,
timesteps, noise and label drops at the same step.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dit_scaling.config.stages import TrainSettings
from dit_scaling.diffusion.process import create_diffusion
from dit_scaling.latents.reader import LatentReader
from dit_scaling.latents.rows_ahead import rows_ahead
from dit_scaling.training.order import EpochOrder


def seed_for(*parts: int | str) -> int:
    """A 63-bit seed from a tuple of names and numbers; different tuples give unrelated streams."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


@dataclass(frozen=True)
class Batch:
    """The samples of one step, or one rank's share of them; all but the timesteps on the training device."""

    x0: Tensor
    """Latents (B, C, H, W) float32, scaled to about unit variance."""
    t: Tensor
    """Times (B,), of a chain int64 in 0..T-1, on the CPU, where the loss looks at them without waiting for a GPU."""
    y: Tensor
    """Labels (B,) int64; dropped ones are the null class."""
    noise: Tensor
    """Gaussian noise (B, C, H, W) float32."""

    def split(self, size: int) -> list["Batch"]:
        """Consecutive parts of at most ``size`` samples; the batch in one part where that is 0."""
        columns = (self.x0, self.t, self.y, self.noise)
        parts = zip(*(column.split(size or len(column)) for column in columns), strict=True)
        return [Batch(*part) for part in parts]


class BatchSource:
    """Draws the batch of any step from the stored moments."""

    def __init__(
        self,
        reader: LatentReader,
        settings: TrainSettings,
        device: torch.device,
        share: slice = slice(None),
    ) -> None:
        """``share``: the rows of the global batch to draw; which rows there are never depends on it."""
        self._reader = reader
        self._settings = settings
        self._process = create_diffusion(settings.diffusion)
        self._device = device
        self._share = share
        self._order = EpochOrder(reader.shard_counts, settings.seed, settings.recipe.shuffle_shards)
        self._ahead: list[int] = []
        self._order.check_memory(reader.shard_bytes)
        self._labels = torch.from_numpy(np.asarray(reader.labels, dtype=np.int64))

    def read_ahead(self, steps: Sequence[int]) -> AbstractContextManager[Iterator[int]]:
        """The steps, each with its latents read from disk by threads; shards that are read as a whole need none."""
        if self._settings.recipe.shuffle_shards is not None:
            return nullcontext(iter(steps))
        # Of its own, as an order remembers one epoch.
        order, size = EpochOrder(self._reader.shard_counts, self._settings.seed), self._settings.recipe.batch_size

        def rows(step: int) -> NDArray[np.int64]:
            return order.indices(step, size)[self._share]

        return rows_ahead(steps, rows, self._reader.moments, len(self._reader))

    def batch(self, step: int) -> Batch:
        """The batch that takes the weights from ``step`` to ``step + 1``.

        x0 = scale * (mean + std * eps): a fresh draw of the VAE posterior at every visit, of the image or,
        where the settings say so, of its mirror with probability 1/2.
        """
        settings, recipe, share = self._settings, self._settings.recipe, self._share
        size = recipe.batch_size
        rng = torch.Generator().manual_seed(seed_for("train", settings.seed, step))
        t = self._process.draw_times(size, rng)[share]
        mirrored = (torch.rand(size, generator=rng) < 0.5)[share]
        dropped = (torch.rand(size, generator=rng) < recipe.class_dropout_prob)[share]
        shape = (size, settings.in_channels, settings.input_size, settings.input_size)
        posterior, noise = torch.randn((2, *shape), generator=rng)[:, share]

        indices = self._order.indices(step, size)[share]
        ahead = self._order.shards_ahead(step, size)
        if ahead != self._ahead:
            self._reader.read_ahead(ahead)
            self._ahead = ahead
        views = torch.from_numpy(self._reader.moments(indices))  # (B, 2, 2C, H, W)
        view = mirrored.long() if recipe.horizontal_flip else torch.zeros(len(t), dtype=torch.long)
        mean, log_variance = views[torch.arange(len(t)), view].float().chunk(2, dim=1)  # (B, C, H, W) each
        x0 = (mean + torch.exp(0.5 * log_variance) * posterior) * self._reader.manifest.scale
        y = torch.where(dropped, settings.num_classes, self._labels[indices])
        x0, y, noise = (tensor.to(self._device, non_blocking=True) for tensor in (x0, y, noise))
        return Batch(x0, t, y, noise)
