"""The diffusion of the paper: its training loss and its samplers."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dit_scaling.common.devices import send
from dit_scaling.diffusion.chain import Chain, Coefficients
from dit_scaling.diffusion.likelihood import discretized_gaussian_nll
from dit_scaling.diffusion.samplers import Denoiser, Prediction, ancestral, ddim, evaluating, guided, normal_noise
from dit_scaling.diffusion.schedule import linear_betas, spaced_timesteps, strided_timesteps

PIXELS = (1, 2, 3)  # all dimensions but the batch


class GaussianDiffusion:
    """Diffusion with linear betas, predicted noise and a learned range of the variance.

    Args:
        num_timesteps: T, the number of noising steps; timesteps are 0 to T - 1.

    Raises:
        UserError: T is 20 or less.
    """

    def __init__(self, num_timesteps: int = 1000) -> None:
        self.num_timesteps = num_timesteps
        self.alphas_cumprod = torch.cumprod(1 - linear_betas(num_timesteps), dim=0)  # (T,) float64
        self._chain = self._visiting(torch.arange(num_timesteps))

    def respaced(self, num_steps: int) -> Chain:
        """The chain over ``num_steps`` evenly spaced timesteps.

        Raises:
            UserError: ``num_steps`` is not in [2, num_timesteps].
        """
        return self._visiting(spaced_timesteps(self.num_timesteps, num_steps))

    def training_losses(
        self, model: Prediction, x0: Tensor, t: Tensor, y: Tensor, noise: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Hybrid loss of Nichol and Dhariwal 2021: error of the noise, plus the bound that trains the variance.

        The bound is unweighted, in bits per dimension, and sends no gradient to the predicted noise.

        Args:
            model: maps (x_t, t, y) to (N, 2C, H, W).
            x0: (N, C, H, W) latents.
            t: (N,) int64 timesteps; on the CPU they spare a GPU one synchronisation a step.
            y: (N,) int64 labels, label dropout already done.
            noise: (N, C, H, W); standard normal draws by default.

        Returns:
            ``loss``, ``mse`` and ``vb``, each (N,), where loss = mse + vb.
        """
        noise = torch.randn_like(x0) if noise is None else noise
        reaches_data = bool((t == 0).any())
        t = send(t, x0.device)
        c = self._chain.coefficients(t, x0)
        x_t = torch.addcmul(c.signal * x0, c.noise, noise)
        eps, v = model(x_t, t, y).chunk(2, dim=1)
        squared_error = (eps - noise).square()
        vb = _posterior_kl(c, squared_error.detach(), v)
        if reaches_data:
            output = torch.cat([eps.detach(), v], dim=1)
            mean, log_variance, _ = self._chain.p_mean_variance(output, x_t, t)
            nll = discretized_gaussian_nll(x0, mean, 0.5 * log_variance).mean(dim=PIXELS)
            vb = torch.where(t == 0, nll, vb)
        mse, vb = squared_error.mean(dim=PIXELS), vb / math.log(2)
        return {"loss": mse + vb, "mse": mse, "vb": vb}

    def sample(
        self,
        model: Denoiser,
        noise: Tensor,
        y: Tensor,
        num_steps: int = 250,
        guidance_scale: float = 1.0,
        generator: torch.Generator | None = None,
        *,
        guidance_channels: int | None = 3,
        step_noise: Callable[[], Tensor] | None = None,
    ) -> Tensor:
        """Latents by ancestral sampling, as the paper evaluates.

        Args:
            model: is evaluated in evaluation mode and left in the mode it was in.
            noise: (N, C, H, W), where the chain starts.
            y: (N,) int64 labels.
            num_steps: timesteps visited, evenly spaced.
            guidance_scale: 1.0 samples the conditional model at half the cost.
            generator: of the noise of the steps.
            guidance_channels: latent channels under guidance, counted from the first; None for all.
            step_noise: called once a step for (N, C, H, W) noise, in place of ``generator``, so that a
                sample's noise can be independent of the batch it is in.

        Raises:
            UserError: ``num_steps`` is not in [2, num_timesteps].
        """
        with evaluating(model):
            predict = guided(model, guidance_scale, guidance_channels)
            x = ancestral(self.respaced(num_steps), predict, noise, y, step_noise or normal_noise(noise, generator))
        return x.clone()  # an ordinary tensor, which autograd accepts

    def sample_ddim(
        self,
        model: Denoiser,
        noise: Tensor,
        y: Tensor,
        num_steps: int = 50,
        guidance_scale: float = 1.0,
        generator: torch.Generator | None = None,
        *,
        eta: float = 0.0,
        guidance_channels: int | None = 3,
        step_noise: Callable[[], Tensor] | None = None,
    ) -> Tensor:
        """Latents by DDIM with DDIM's own spacing 0, k, 2k, ...: for quick looks, not the paper's protocol.

        Arguments as in ``sample``; ``eta`` from 0 (deterministic) to 1.

        Raises:
            UserError: ``num_steps`` is not in [2, num_timesteps].
        """
        chain = self._visiting(strided_timesteps(self.num_timesteps, num_steps))
        with evaluating(model):
            predict = guided(model, guidance_scale, guidance_channels)
            x = ddim(chain, predict, noise, y, eta, step_noise or normal_noise(noise, generator))
        return x.clone()

    def _visiting(self, timesteps: Tensor) -> Chain:
        return Chain(self.alphas_cumprod, timesteps)


def _posterior_kl(c: Coefficients, squared_error: Tensor, v: Tensor) -> Tensor:
    """KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)) in nats per dimension: (N,).

    Both means weigh x_t alike, so the square of their distance is the squared error of eps, times the posterior
    variance, times ``kl_weight``. With r = log of predicted over posterior variance, KL is
    (r - 1 + exp(-r) (1 + kl_weight error)) / 2.
    """
    half_range = c.log_variance_range / 2
    r = torch.addcmul(half_range, half_range, v)  # (v + 1) / 2 * range
    return 0.5 * ((torch.exp(-r) * (1 + c.kl_weight * squared_error) + r).mean(dim=PIXELS) - 1)
