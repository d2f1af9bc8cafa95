"""The diffusion process of DDPM, objective of the paper: its chain and its training loss."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dit_scaling.common.devices import send
from dit_scaling.diffusion.base import Level, Process
from dit_scaling.diffusion.chain import Chain, Coefficients
from dit_scaling.diffusion.denoiser import Prediction
from dit_scaling.diffusion.likelihood import discretized_gaussian_nll
from dit_scaling.diffusion.process import DiffusionSettings
from dit_scaling.diffusion.samplers import PAPER_SAMPLER

PIXELS = (1, 2, 3)  # all dimensions but the batch


class GaussianDiffusion(Process):
    """A Gaussian process whose networks predict the noise, or v, and a learned range of the variance.

    Made by `create_diffusion`.

    Attributes:
        settings: what it was made of.
        num_timesteps: T, the number of noising steps; timesteps are 0 to T - 1.
        betas: (T,) float64.
        alphas_cumprod: (T,) float64, abar.
    """

    def __init__(self, settings: DiffusionSettings, betas: Tensor) -> None:
        """The process of ``betas`` (T,) float64, which are those of ``settings``."""
        self.settings: DiffusionSettings = settings
        self.num_timesteps = settings.num_timesteps
        self.betas = betas
        self.alphas_cumprod = torch.cumprod(1 - betas, dim=0)
        self._chain = self.visiting(range(self.num_timesteps))

    def draw_times(self, count: int, rng: torch.Generator | None = None) -> Tensor:
        """Uniform timesteps (count,) int64 in 0..T-1."""
        return torch.randint(self.num_timesteps, (count,), generator=rng)

    @property
    def training_times(self) -> Tensor:
        """All timesteps (T,) int64."""
        return torch.arange(self.num_timesteps)

    def time_at(self, share: float) -> int:
        return round(share * self.num_timesteps)

    def share_of(self, time: float) -> float:
        return time / (self.num_timesteps - 1)

    def level(self, t: Tensor) -> Level:
        abar = self.alphas_cumprod[t.long().cpu()]
        signal, noise = abar.sqrt(), (1 - abar).sqrt()
        if self.settings.prediction == "epsilon":
            return Level(signal, noise, of_data=torch.zeros_like(abar), of_noise=torch.ones_like(abar))
        return Level(signal, noise, of_data=-noise, of_noise=signal)

    def visiting(self, timesteps: Sequence[float]) -> Chain:
        """The chain over some of the timesteps, ascending."""
        return Chain(self.alphas_cumprod, torch.tensor(timesteps, dtype=torch.int64), self.settings.prediction)

    def respaced(self, num_steps: int, sampler: str = PAPER_SAMPLER) -> Chain:
        way = super().respaced(num_steps, sampler)
        assert isinstance(way, Chain)
        return way

    def training_losses(
        self, model: Prediction, x0: Tensor, t: Tensor, y: Tensor, noise: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Hybrid loss of Nichol and Dhariwal 2021: error of the noise, plus the bound that trains the variance.

        The bound is unweighted, in bits per dimension, and sends no gradient to the predicted noise.
        """
        noise = torch.randn_like(x0) if noise is None else noise
        reaches_data = bool((t == 0).any())
        t = send(t, x0.device)
        c = self._chain.coefficients(t, x0)
        x_t = torch.addcmul(c.signal * x0, c.noise, noise)
        prediction, place = model(x_t, t, y).chunk(2, dim=1)
        target = noise if self.settings.prediction == "epsilon" else c.signal * noise - c.noise * x0
        squared_error = (prediction - target).square()
        vb = _posterior_kl(c, squared_error.detach(), place)
        if reaches_data:
            output = torch.cat([prediction.detach(), place], dim=1)
            mean, log_variance, _ = self._chain.p_mean_variance(output, x_t, t)
            nll = discretized_gaussian_nll(x0, mean, 0.5 * log_variance).mean(dim=PIXELS)
            vb = torch.where(t == 0, nll, vb)
        mse, vb = squared_error.mean(dim=PIXELS), vb / math.log(2)
        return {"loss": mse + vb, "mse": mse, "vb": vb}


def _posterior_kl(c: Coefficients, squared_error: Tensor, place: Tensor) -> Tensor:
    """KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)) in nats per dimension: (N,).

    Both means weigh x_t alike, so the square of their distance is the squared error of the prediction, times the
    posterior variance, times ``kl_weight``. With r = log of predicted over posterior variance, KL is
    (r - 1 + exp(-r) (1 + kl_weight error)) / 2.
    """
    half_range = c.log_variance_range / 2
    r = torch.addcmul(half_range, half_range, place)  # (place + 1) / 2 * range
    return 0.5 * ((torch.exp(-r) * (1 + c.kl_weight * squared_error) + r).mean(dim=PIXELS) - 1)
