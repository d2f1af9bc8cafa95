"""A Markov chain of noising steps, and its Gaussian reverse with a learned variance.

Notation of Ho et al. 2020 (DDPM): x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps. A chain may visit a subset of the
training timesteps; its betas then follow from the abar it visits (Nichol and Dhariwal 2021, section 4).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from dit_scaling.diffusion.walk import Way


class Coefficients(NamedTuple):
    """What the formulas need of each step. "Posterior" means q(x_{t-1} | x_t, x_0), DDPM equation 7."""

    signal: Tensor  # sqrt(abar_t)
    noise: Tensor  # sqrt(1 - abar_t)
    posterior_x0: Tensor  # weight of x_0 in the posterior mean
    posterior_xt: Tensor  # weight of x_t in the posterior mean
    log_variance_min: Tensor  # log of the posterior variance; at t = 0, where that is 0, its value at t = 1
    log_variance_range: Tensor  # log beta_t - log_variance_min
    kl_weight: Tensor  # of the squared error of the prediction, see GaussianDiffusion; 0 at t = 0


class ReverseStep(NamedTuple):
    """Mean and log variance of p(x_{t-1} | x_t), and the x_0 predicted on the way, each (N, C, H, W)."""

    mean: Tensor
    log_variance: Tensor
    pred_x0: Tensor


class Chain(Way):
    """The chain that visits ``timesteps``; its own ``index`` counts from 0, the least noisy step.

    Attributes:
        timesteps: (S,) int64, ascending: the training timesteps visited, which networks are fed with.
        alphas_cumprod: (S,) float64, abar at these timesteps.
    """

    def __init__(self, alphas_cumprod: Tensor, timesteps: Tensor, prediction: str = "epsilon") -> None:
        """Visit ``timesteps`` of a training schedule with ``alphas_cumprod`` (T,) float64."""
        self.timesteps = timesteps
        self.alphas_cumprod = alphas_cumprod[timesteps]
        self._predicts_noise = prediction == "epsilon"
        table = torch.stack(
            _coefficients(self.alphas_cumprod, self._predicts_noise), dim=1
        )  # one lookup instead of seven
        self._tables = {table.device: table}

    def coefficients(self, index: int | Tensor, like: Tensor) -> Coefficients:
        """Coefficients at ``index``, an int or (N,) int64, shaped and typed to multiply with ``like`` (N, C, H, W).

        A GPU is not waited for where ``index`` is an int or on that GPU.
        """
        if like.device not in self._tables:
            with torch.inference_mode(mode=False):  # a table made while sampling serves training too
                self._tables[like.device] = next(iter(self._tables.values())).to(like.device)
        rows = self._tables[like.device][index].to(like.dtype)
        return Coefficients(*rows.view(-1, len(Coefficients._fields), 1, 1, 1).unbind(1))

    def p_mean_variance(self, model_output: Tensor, x: Tensor, index: int | Tensor) -> ReverseStep:
        """The reverse step that a network's output stands for; x_0 is not clipped.

        Args:
            model_output: (N, 2C, H, W), the noise or v, then the log variance's place between its bounds in [-1, 1].
            x: (N, C, H, W), the latents at ``index``.
            index: position in this chain, an int or (N,) int64.
        """
        c = self.coefficients(index, x)
        prediction, place = model_output.chunk(2, dim=1)
        of_noise = self._predicts_noise
        pred_x0 = (x - c.noise * prediction) / c.signal if of_noise else c.signal * x - c.noise * prediction
        mean = c.posterior_x0 * pred_x0 + c.posterior_xt * x
        log_variance = c.log_variance_min + (place + 1) / 2 * c.log_variance_range  # Nichol and Dhariwal, equation 15
        return ReverseStep(mean, log_variance, pred_x0)

    def estimates(self, prediction: Tensor, x: Tensor, abar: float) -> tuple[Tensor, Tensor]:
        """x_0 and the noise that a prediction (N, C, H, W) at ``x`` stands for."""
        signal, noise = abar**0.5, (1 - abar) ** 0.5
        if self._predicts_noise:
            return (x - noise * prediction) / signal, prediction
        return signal * x - noise * prediction, noise * x + signal * prediction


def _coefficients(alphas_cumprod: Tensor, predicts_noise: bool) -> Coefficients:
    previous = torch.cat([torch.ones(1, dtype=torch.float64), alphas_cumprod[:-1]])
    alphas = alphas_cumprod / previous
    betas = 1 - alphas
    posterior_variance = betas * (1 - previous) / (1 - alphas_cumprod)
    log_variance_min = torch.cat([posterior_variance[1:2], posterior_variance[1:]]).log()
    # An error of v is one of the noise times sqrt(abar), which keeps the weight finite where abar is 0.
    kl_weight = betas / (alphas * (1 - previous)) if predicts_noise else betas * previous / (1 - previous)
    kl_weight[0] = 0
    return Coefficients(
        signal=alphas_cumprod.sqrt(),
        noise=(1 - alphas_cumprod).sqrt(),
        posterior_x0=betas * previous.sqrt() / (1 - alphas_cumprod),
        posterior_xt=alphas.sqrt() * (1 - previous) / (1 - alphas_cumprod),
        log_variance_min=log_variance_min,
        log_variance_range=betas.log() - log_variance_min,
        kl_weight=kl_weight,
    )
