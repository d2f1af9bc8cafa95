"""Labels and noise of each sample, from (seed, index) alone.

The same images come out whatever the batch size, the number of parts or of GPUs, and every variant of a
study starts from the same noise with the same label.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dit_scaling.common.devices import send
from dit_scaling.config.stages import SampleSettings
from dit_scaling.training.batches import seed_for


def part_indices(settings: SampleSettings, part: int) -> NDArray[np.int64]:
    """Indices of the samples of one part: the parts together hold 0 .. num_samples - 1, each once."""
    return np.array_split(np.arange(settings.num_samples), settings.parts)[part]


def sample_labels(indices: NDArray[np.int64], num_classes: int, mode: str, seed: int) -> NDArray[np.int64]:
    """Labels (N,) of samples: index mod classes where ``balanced``, uniform where ``random``."""
    if mode == "balanced":
        return indices % num_classes
    return np.array([seed_for("label", seed, int(index)) % num_classes for index in indices], dtype=np.int64)


class SampleNoise:
    """One stream of Gaussian noise per sample: its start, then one draw per denoising step."""

    def __init__(
        self, seed: int, indices: NDArray[np.int64], shape: tuple[int, int, int], device: torch.device
    ) -> None:
        self._generators = [torch.Generator().manual_seed(seed_for("sample", seed, int(index))) for index in indices]
        self._shape = shape
        self._device = device

    def __call__(self) -> Tensor:
        """The next draw of every stream, (N, C, H, W) float32."""
        draws = [torch.randn(self._shape, generator=generator) for generator in self._generators]
        return send(torch.stack(draws), self._device)
