"""One-step predictions of a network at several noise levels, and its sampler against them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dit_scaling.diffusion import GaussianDiffusion
from dit_scaling.diffusion.chain import Chain
from dit_scaling.diffusion.samplers import Denoiser, ancestral, evaluating, normal_noise

NUM_TIMESTEPS = 1000
TIMESTEPS = (25, 100, 250, 500, 750, 950)
BATCH = 64


def noised(x0: Tensor, t: int, seed: int) -> tuple[Tensor, Tensor]:
    """x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps and its eps, both (N, C, H, W), the noise drawn from ``seed``."""
    abar = float(GaussianDiffusion().alphas_cumprod[t])
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


def predict_x0(model: Denoiser, x0: Tensor, labels: Tensor, t: int, seed: int = 0) -> Tensor:
    """x_0 as predicted in one step from x_t: (x_t - sqrt(1 - abar_t) eps) / sqrt(abar_t) (DDPM, equation 9)."""
    abar = float(GaussianDiffusion().alphas_cumprod[t])
    x, _ = noised(x0, t, seed)
    predicted: Tensor = (x - (1 - abar) ** 0.5 * predict_noise(model, x, t, labels)) / abar**0.5
    return predicted


def noise_errors(
    model: Denoiser, x0: Tensor, labels: Tensor, timesteps: Sequence[int] = TIMESTEPS, seed: int = 0
) -> dict[int, float]:
    """Mean squared error of the predicted noise by timestep, one for a network that predicts none.

    Args:
        model: the network.
        x0: (N, C, H, W) clean latents.
        labels: (N,) int64.
        timesteps: original timesteps in 0..999.
        seed: of the noise, the same at every timestep and for every network.
    """
    errors = {}
    for t in timesteps:
        x, noise = noised(x0, t, seed)
        errors[t] = float((predict_noise(model, x, t, labels) - noise).square().mean())
    return errors


def structureless_error(t: int, variance: float) -> float:
    """Least error of predicted noise for one who knows nothing of the latents but their variance.

    For x_0 ~ N(0, v) the posterior variance of eps given x_t is abar v / (abar v + 1 - abar).
    """
    abar = float(GaussianDiffusion().alphas_cumprod[t])
    return abar * variance / (abar * variance + 1 - abar)


def mean_structureless_error(variance: float) -> float:
    """`structureless_error` averaged over all timesteps: what the training loss has to beat."""
    abar = GaussianDiffusion().alphas_cumprod
    return float((abar * variance / (abar * variance + 1 - abar)).mean())


def resampling_ratio(model: Denoiser, x0: Tensor, labels: Tensor, steps: int, share: float = 0.3) -> float:
    """Error of latents sampled from a noised x_t, over that of the one-step prediction from the same x_t.

    A draw from the exact posterior has twice the squared error of the posterior mean. A sampler that feeds the network
    other timesteps, clips, or weighs its terms wrongly leaves that range, however well the network predicts.

    Args:
        model: the network.
        x0: (N, C, H, W) clean latents.
        labels: (N,) int64.
        steps: of the study's sampler.
        share: how far up the chain to start, from 0 to 1.
    """
    diffusion = GaussianDiffusion()
    timesteps = diffusion.respaced(steps).timesteps
    chain = Chain(diffusion.alphas_cumprod, timesteps[: max(2, round(share * steps))])
    start = int(chain.timesteps[-1])
    x, _ = noised(x0, start, seed=0)
    with evaluating(model):
        walked = ancestral(chain, model, x, labels, normal_noise(x, torch.Generator().manual_seed(1)))
    one_step = predict_x0(model, x0, labels, start)
    return float((walked.clone() - x0).square().mean() / (one_step - x0).square().mean())
