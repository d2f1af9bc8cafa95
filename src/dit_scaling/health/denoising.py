"""One-step predictions of a network at several noise levels, and its sampler against them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dit_scaling.diffusion.denoiser import Denoiser, evaluating, normal_noise
from dit_scaling.diffusion.gaussian import GaussianDiffusion
from dit_scaling.diffusion.samplers import SAMPLERS

SHARES = (0.025, 0.1, 0.25, 0.5, 0.75, 0.95)
BATCH = 64


def judged_timesteps(diffusion: GaussianDiffusion, shares: Sequence[float] = SHARES) -> tuple[int, ...]:
    """The timesteps at these shares of all: 25, 100, 250, 500, 750 and 950 of 1000."""
    return tuple(round(share * diffusion.num_timesteps) for share in shares)


def noised(diffusion: GaussianDiffusion, x0: Tensor, t: int, seed: int) -> tuple[Tensor, Tensor]:
    """x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps and its eps, both (N, C, H, W), the noise drawn from ``seed``."""
    abar = float(diffusion.alphas_cumprod[t])
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed)).to(x0)
    return abar**0.5 * x0 + (1 - abar) ** 0.5 * noise, noise


def predict_noise(model: Denoiser, x: Tensor, t: int, labels: Tensor) -> Tensor:
    """The predicted noise (N, C, H, W) of latents ``x`` at timestep ``t``, in evaluation mode."""
    with evaluating(model):
        outputs: list[Tensor] = [
            model(some, torch.full_like(y, t), y)[:, : x.shape[1]]
            for some, y in zip(x.split(BATCH), labels.split(BATCH), strict=True)
        ]
    return torch.cat(outputs).clone()


def predict_x0(
    diffusion: GaussianDiffusion, model: Denoiser, x0: Tensor, labels: Tensor, t: int, seed: int = 0
) -> Tensor:
    """x_0 as predicted in one step from x_t: (x_t - sqrt(1 - abar_t) eps) / sqrt(abar_t) (DDPM, equation 9)."""
    abar = float(diffusion.alphas_cumprod[t])
    x, _ = noised(diffusion, x0, t, seed)
    predicted: Tensor = (x - (1 - abar) ** 0.5 * predict_noise(model, x, t, labels)) / abar**0.5
    return predicted


def noise_errors(
    diffusion: GaussianDiffusion, model: Denoiser, x0: Tensor, labels: Tensor, seed: int = 0
) -> dict[int, float]:
    """Mean squared error of the predicted noise by judged timestep, one for a network that predicts none.

    Args:
        diffusion: the process.
        model: the network.
        x0: (N, C, H, W) clean latents.
        labels: (N,) int64.
        seed: of the noise, the same at every timestep and for every network.
    """
    errors = {}
    for t in judged_timesteps(diffusion):
        x, noise = noised(diffusion, x0, t, seed)
        errors[t] = float((predict_noise(model, x, t, labels) - noise).square().mean())
    return errors


def structureless_error(diffusion: GaussianDiffusion, t: int, variance: float) -> float:
    """Least error of predicted noise for one who knows nothing of the latents but their variance.

    For x_0 ~ N(0, v) the posterior variance of eps given x_t is abar v / (abar v + 1 - abar).
    """
    abar = float(diffusion.alphas_cumprod[t])
    return abar * variance / (abar * variance + 1 - abar)


def mean_structureless_error(diffusion: GaussianDiffusion, variance: float) -> float:
    """`structureless_error` averaged over all timesteps: what the training loss has to beat."""
    abar = diffusion.alphas_cumprod
    return float((abar * variance / (abar * variance + 1 - abar)).mean())


def resampling_ratio(
    diffusion: GaussianDiffusion,
    model: Denoiser,
    x0: Tensor,
    labels: Tensor,
    sampler: str,
    steps: int,
    share: float = 0.3,
) -> float:
    """Error of latents sampled from a noised x_t, over that of the one-step prediction from the same x_t.

    A draw from the exact posterior has twice the squared error of the posterior mean; the solution of the ODE has,
    where latents are normal and correlate with x_t by r, 2 / (1 + r) of it, 1 to 2. A sampler that feeds the network
    other timesteps, clips, or weighs its terms wrongly leaves that range, however well the network predicts.

    Args:
        diffusion: the process.
        model: the network.
        x0: (N, C, H, W) clean latents.
        labels: (N,) int64.
        sampler: the study's.
        steps: of the study's sampler.
        share: how far up the chain to start, from 0 to 1.
    """
    timesteps = diffusion.respaced(steps, sampler).timesteps.tolist()
    chain = diffusion.visiting(timesteps[: max(2, round(share * steps))])
    start = int(chain.timesteps[-1])
    walked, _ = noised(diffusion, x0, start, seed=0)
    noise = normal_noise(walked, torch.Generator().manual_seed(1))
    with evaluating(model):
        for step in SAMPLERS[sampler].walk(chain, model, walked, labels, noise):
            walked = step.x
    one_step = predict_x0(diffusion, model, x0, labels, start)
    return float((walked.clone() - x0).square().mean() / (one_step - x0).square().mean())
