"""The loss by bands of timesteps: where on the way from noise to image a model learns."""

import torch
from torch import Tensor

BANDS = 4


class BandLosses:
    """Sums since they were last asked for, on the training device: adding waits for nothing."""

    def __init__(self, timesteps: int, device: torch.device) -> None:
        """``timesteps``: T of a chain, whose timesteps are 0..T-1; times with a fraction lie in 0..1."""
        self._timesteps = timesteps
        self._sums = torch.zeros((2, BANDS), device=device)  # of losses, and of ones

    def add(self, t: Tensor, losses: Tensor) -> None:
        """Add the losses (B,) of samples at times ``t`` (B,), which may lie on another device."""
        share = t if t.is_floating_point() else t / self._timesteps
        band = (share * BANDS).long().clamp(0, BANDS - 1).to(losses.device, non_blocking=True)
        losses = losses.detach().float()
        self._sums.index_add_(1, band, torch.stack([losses, torch.ones_like(losses)]))

    def take(self) -> dict[str, float]:
        """The mean of each band that a sample fell into, by its name, and begin anew."""
        sums, counts = self._sums.tolist()
        self._sums.zero_()
        return {_name(band): sums[band] / counts[band] for band in range(BANDS) if counts[band]}


def _name(band: int) -> str:
    return f"t {band / BANDS:.2f} to {(band + 1) / BANDS:.2f}"
