"""One-step predictions of a network at several noise levels, and its sampler against them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dit_scaling.diffusion.base import Level, Process
from dit_scaling.diffusion.denoiser import Denoiser, evaluating, normal_noise
from dit_scaling.diffusion.samplers import SAMPLERS

SHARES = (0.025, 0.1, 0.25, 0.5, 0.75, 0.95)
BATCH = 64


def judged_timesteps(diffusion: Process, shares: Sequence[float] = SHARES) -> tuple[float, ...]:
    """The times at these shares of the way to noise: timesteps 25, 100, 250, 500, 750 and 950 of 1000."""
    return tuple(diffusion.time_at(share) for share in shares)


def noised(diffusion: Process, x0: Tensor, t: float, seed: int) -> tuple[Tensor, Tensor]:
    """x_t and its eps, both (N, C, H, W), the noise drawn from ``seed``."""
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed)).to(x0)
    return level_at(diffusion, t).like(x0).noised(x0, noise), noise


def level_at(diffusion: Process, t: float) -> Level:
    """The level of one time: fields (1,)."""
    return diffusion.level(torch.tensor([t]))


def predict(model: Denoiser, x: Tensor, t: float, labels: Tensor) -> Tensor:
    """The predicted target (N, C, H, W) of latents ``x`` at time ``t``, in evaluation mode."""
    with evaluating(model):
        outputs: list[Tensor] = [
            model(some, torch.full(y.shape, t, device=y.device), y)[:, : x.shape[1]]
            for some, y in zip(x.split(BATCH), labels.split(BATCH), strict=True)
        ]
    return torch.cat(outputs).clone()


def predict_x0(diffusion: Process, model: Denoiser, x0: Tensor, labels: Tensor, t: float, seed: int = 0) -> Tensor:
    """x_0 as predicted in one step from x_t."""
    x, _ = noised(diffusion, x0, t, seed)
    return level_at(diffusion, t).like(x).data(predict(model, x, t, labels), x)


def target_errors(diffusion: Process, model: Denoiser, x0: Tensor, labels: Tensor, seed: int = 0) -> dict[float, float]:
    """Mean squared error of the predicted target (noise, velocity or v) by judged time; see `error_untrained`.

    Args:
        diffusion: the process.
        model: the network.
        x0: (N, C, H, W) clean latents.
        labels: (N,) int64.
        seed: of the noise, the same at every time and for every network.
    """
    errors = {}
    for t in judged_timesteps(diffusion):
        x, noise = noised(diffusion, x0, t, seed)
        target = level_at(diffusion, t).like(x).target(x0, noise)
        errors[t] = float((predict(model, x, t, labels) - target).square().mean())
    return errors


def structureless_error(diffusion: Process, t: float, variance: float) -> float:
    """Least error of the target for one who knows nothing of the latents but their variance."""
    return float(level_at(diffusion, t).error_by_variance(variance))


def error_untrained(diffusion: Process, t: float, variance: float) -> float:
    """Error of the target for a network that predicts none: 1 where the target is the noise."""
    return float(level_at(diffusion, t).error_untrained(variance))


def mean_structureless_error(diffusion: Process, variance: float) -> float:
    """`structureless_error` averaged over the times of training: what the training loss has to beat."""
    return float(diffusion.level(diffusion.training_times).error_by_variance(variance).mean())


def mean_error_untrained(diffusion: Process, variance: float) -> float:
    """`error_untrained` averaged over the times of training: where the training loss starts."""
    return float(diffusion.level(diffusion.training_times).error_untrained(variance).mean())


def resampling_ratio(
    diffusion: Process,
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
    start = chain.timesteps[-1].item()
    walked, _ = noised(diffusion, x0, start, seed=0)
    noise = normal_noise(walked, torch.Generator().manual_seed(1))
    with evaluating(model):
        for step in SAMPLERS[sampler].walk(chain, model, walked, labels, noise):
            walked = step.x
    one_step = predict_x0(diffusion, model, x0, labels, start)
    return float((walked.clone() - x0).square().mean() / (one_step - x0).square().mean())
