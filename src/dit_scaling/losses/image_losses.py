"""Losses of one network on noised images: error of the noise, variational bound and hybrid loss, image by image."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dit_scaling.diffusion.base import Process
from dit_scaling.diffusion.denoiser import Denoiser, evaluating
from dit_scaling.diffusion.gaussian import GaussianDiffusion
from dit_scaling.losses.draws import Draws

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ImageLosses:
    """What a network loses on N images in K draws each; bits are per dimension of the latents."""

    t: NDArray[np.int64]
    """(K, N) timesteps; of a flow thousandths of the way to noise."""
    squared_error: Array
    """(K, N) mean squared error of the prediction."""
    kl: Array
    """(K, N) term of the bound at ``t``, in bits; 0 where t is 0."""
    last: Array
    """(N,) term of the bound at t = 0, in bits: likelihood on 256 levels, as the reference code has it."""
    prior: Array
    """(N,) KL of q(x_T | x_0) and the standard normal distribution, in bits."""
    num_timesteps: int
    bounded: bool = True
    """Whether the process has a variational bound; where not, its terms are 0."""

    @cached_property
    def mse(self) -> Array:
        """(N,) squared error over all timesteps."""
        return np.asarray(self.squared_error.mean(axis=0))

    @cached_property
    def bound(self) -> Array:
        """(N,) variational bound of Ho et al. 2020 (DDPM, equation 5) in bits: prior + sum of KL over t + last term."""
        return np.asarray(self.prior + self.num_timesteps * self.kl.mean(axis=0) + self.last)

    @cached_property
    def hybrid(self) -> Array:
        """(N,) the training loss: squared error, plus the mean over all timesteps of the bound's terms."""
        return np.asarray(self.mse + self.kl.mean(axis=0) + self.last / self.num_timesteps)

    def band(self, low: float, high: float) -> float | None:
        """Squared error over the timesteps from ``low`` to ``high``, shares of all; None where no draw is there."""
        inside = (self.t >= low * self.num_timesteps) & (self.t < high * self.num_timesteps)
        return float(self.squared_error[inside].mean()) if inside.any() else None


def image_losses(diffusion: Process, model: Denoiser, batches: Iterable[Draws], device: torch.device) -> ImageLosses:
    """Evaluate a network on ``device``, in float32 and evaluation mode, with true labels.

    Raises:
        ValueError: there is no batch.
    """
    parts = [_batch_losses(diffusion, model, batch, device) for batch in batches]
    bounded, total = isinstance(diffusion, GaussianDiffusion), len(diffusion.training_times)
    t, squared_error, vb, prior = (torch.cat(column, dim=-1).double().numpy() for column in zip(*parts, strict=True))
    places = t[1:] if bounded else np.floor(total * np.vectorize(diffusion.share_of)(t[1:]))
    return ImageLosses(
        t=places.astype(np.int64),
        squared_error=squared_error[1:],
        kl=np.where(t[1:] == 0, 0.0, vb[1:]),
        last=vb[0],
        prior=prior,
        num_timesteps=total,
        bounded=bounded,
    )


def _batch_losses(
    diffusion: Process, model: Denoiser, batch: Draws, device: torch.device
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Timesteps, squared errors and terms of the bound (K + 1, N), and the prior's term (N,)."""
    y = batch.y.to(device)
    with evaluating(model):
        losses = [
            diffusion.training_losses(model, x0.to(device), t, y, noise.to(device))
            for x0, t, noise in zip(batch.x0, batch.t, batch.noise, strict=True)
        ]
        squared_error, vb = (torch.stack([each[name].cpu() for each in losses]) for name in ("mse", "vb"))
    if not isinstance(diffusion, GaussianDiffusion):
        return batch.t, squared_error, vb, torch.zeros(len(y), dtype=torch.float64)
    return batch.t, squared_error, vb, prior_bits(diffusion, batch.x0[0])


def prior_bits(diffusion: GaussianDiffusion, x0: Tensor) -> Tensor:
    """KL(q(x_T | x_0) || N(0, 1)) of latents (N, C, H, W), in bits per dimension: (N,)."""
    abar = float(diffusion.alphas_cumprod[-1])
    nats = 0.5 * (abar * x0.double().square() - abar - math.log1p(-abar))
    return nats.mean(dim=(1, 2, 3)) / math.log(2)
