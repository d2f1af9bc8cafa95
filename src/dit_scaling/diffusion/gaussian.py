"""The diffusion process: its training loss, and sampling from it."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dit_scaling.common.devices import send
from dit_scaling.diffusion.chain import Chain, Coefficients
from dit_scaling.diffusion.denoiser import Denoiser, Prediction, StepNoise, evaluating, guided, normal_noise
from dit_scaling.diffusion.likelihood import discretized_gaussian_nll
from dit_scaling.diffusion.process import DiffusionSettings
from dit_scaling.diffusion.samplers import PAPER_SAMPLER, SAMPLERS, SamplingOptions, Step

PIXELS = (1, 2, 3)  # all dimensions but the batch
PAPER_SAMPLING = SamplingOptions()


class GaussianDiffusion:
    """A Gaussian process whose networks predict the noise and a learned range of the variance.

    Made by `create_diffusion`.

    Attributes:
        settings: what it was made of.
        num_timesteps: T, the number of noising steps; timesteps are 0 to T - 1.
        betas: (T,) float64.
        alphas_cumprod: (T,) float64, abar.
    """

    def __init__(self, settings: DiffusionSettings, betas: Tensor) -> None:
        """The process of ``betas`` (T,) float64, which are those of ``settings``."""
        self.settings = settings
        self.num_timesteps = settings.num_timesteps
        self.betas = betas
        self.alphas_cumprod = torch.cumprod(1 - betas, dim=0)
        self._chain = self.visiting(range(self.num_timesteps))

    def visiting(self, timesteps: Sequence[int]) -> Chain:
        """The chain over some of the timesteps, ascending."""
        return Chain(self.alphas_cumprod, torch.tensor(timesteps))

    def respaced(self, num_steps: int, sampler: str = PAPER_SAMPLER) -> Chain:
        """The chain that a sampler walks in ``num_steps`` steps.

        Raises:
            UserError: it cannot take so many.
        """
        return self.visiting(SAMPLERS[sampler].timesteps(self.settings, num_steps))

    def training_losses(
        self, model: Prediction, x0: Tensor, t: Tensor, y: Tensor, noise: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Hybrid loss of Nichol and Dhariwal 2021: error of the noise, plus the bound that trains the variance.

        The bound is unweighted, in bits per dimension, and sends no gradient to the predicted noise.

        Args:
            model: maps (x_t, t, y) to (N, 2C, H, W).
            x0: (N, C, H, W) latents.
            t: (N,) int64 timesteps; on the CPU they spare a GPU one synchronisation a step.
            y: (N,) int64 labels, class dropout already done.
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
        how: SamplingOptions = PAPER_SAMPLING,
        step_noise: StepNoise | None = None,
        observe: Callable[[Step], object] | None = None,
    ) -> Tensor:
        """Latents (N, C, H, W) by one of the samplers.

        Args:
            model: is evaluated in evaluation mode and left in the mode it was in.
            noise: (N, C, H, W), where the chain starts.
            y: (N,) int64 labels.
            how: sampler, steps and guidance.
            step_noise: called once for each draw of (N, C, H, W) noise that a step adds; fresh draws by default. A
                sample's noise can so be independent of the batch it is in.
            observe: called after every step; what it is given are inference tensors.

        Raises:
            UserError: the sampler cannot take so many steps.
        """
        sampler = SAMPLERS[how.sampler]
        chain = self.respaced(how.steps, how.sampler)
        x = noise
        with evaluating(model):
            predict = guided(model, how.guidance_scale, how.guidance_channels)
            for step in sampler.walk(chain, predict, noise, y, step_noise or normal_noise(noise, None)):
                x = step.x
                if observe is not None:
                    observe(step)
        return x.clone()  # an ordinary tensor, which autograd accepts


def _posterior_kl(c: Coefficients, squared_error: Tensor, v: Tensor) -> Tensor:
    """KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)) in nats per dimension: (N,).

    Both means weigh x_t alike, so the square of their distance is the squared error of eps, times the posterior
    variance, times ``kl_weight``. With r = log of predicted over posterior variance, KL is
    (r - 1 + exp(-r) (1 + kl_weight error)) / 2.
    """
    half_range = c.log_variance_range / 2
    r = torch.addcmul(half_range, half_range, v)  # (v + 1) / 2 * range
    return 0.5 * ((torch.exp(-r) * (1 + c.kl_weight * squared_error) + r).mean(dim=PIXELS) - 1)
