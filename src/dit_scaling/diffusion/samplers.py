"""Ways of walking a chain back from noise to latents: one row each.

Read by configs, so nothing here imports torch: the walks need no more than what tensors do themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from dit_scaling.common.errors import UserError
from dit_scaling.diffusion.flow_walks import euler, euler_maruyama, even_times, heun
from dit_scaling.diffusion.spacing import spaced_timesteps, strided_timesteps, upper_timesteps
from dit_scaling.diffusion.walk import Step

if TYPE_CHECKING:
    from torch import Tensor

    from dit_scaling.diffusion.chain import Chain
    from dit_scaling.diffusion.denoiser import Prediction, StepNoise

    Walk = Callable[[Any, Prediction, Tensor, Tensor, StepNoise], "Iterator[Step]"]


@dataclass(frozen=True)
class Sampler:
    """A way of sampling, and all that config, checks, pictures and report have to know of it."""

    name: str
    label: str
    """In the protocol table."""
    walk: Walk
    """(way, predict, x, y, step_noise) to the steps from the noisiest on, ``x`` (N, C, H, W) being the noise. The way
    of objective ddpm is a `Chain`."""
    timesteps: Callable[[Any, int], Sequence[float]]
    """The process (settings of its objective) and a number of steps to the timesteps visited, the least noisy first; a
    UserError where that cannot be."""
    stochastic: bool
    """Whether its steps draw noise, so that from a noised latent it draws from the posterior. Others solve the ODE."""
    learned_variance: bool
    """Whether it uses the variance channels of the network."""
    note: str
    """What it is for."""
    objective: str = "ddpm"
    """The row of ``OBJECTIVES`` whose networks it samples."""
    evaluations: Callable[[int], int] = lambda steps: steps
    """Steps to evaluations of the network, without guidance."""

    def feasible_steps(self, process: Any, wanted: int) -> int:
        """The largest number of steps it can take, of ``wanted`` at most.

        Raises:
            UserError: it can take none.
        """
        for steps in range(wanted, 2, -1):
            try:
                return len(self.timesteps(process, steps))
            except UserError:
                continue
        return len(self.timesteps(process, 2))


def ancestral(chain: Chain, predict: Prediction, x: Tensor, y: Tensor, step_noise: StepNoise) -> Iterator[Step]:
    """Draw x_{t-1} from p(x_{t-1} | x_t) down the chain; the last step returns its mean (DDPM, algorithm 2)."""
    for index in reversed(range(len(chain))):
        output = predict(x, fed_timesteps(chain, index, y), y)
        x, log_variance, pred_x0 = chain.p_mean_variance(output, x, index)
        if index > 0:
            x = x + (0.5 * log_variance).exp() * step_noise()
        yield Step(int(chain.timesteps[index]), pred_x0, x)


def ddim(
    chain: Chain, predict: Prediction, x: Tensor, y: Tensor, step_noise: StepNoise, *, eta: float = 0.0
) -> Iterator[Step]:
    """Song et al. 2021, equation 12: deterministic for ``eta`` 0, with the posterior's variance for 1."""
    abar = [1.0, *chain.alphas_cumprod.tolist()]
    for index in reversed(range(len(chain))):
        output = predict(x, fed_timesteps(chain, index, y), y)[:, : x.shape[1]]
        now, previous = abar[index + 1], abar[index]
        variance = eta**2 * (1 - previous) / (1 - now) * (1 - now / previous)
        pred_x0, eps = chain.estimates(output, x, now)
        x = previous**0.5 * pred_x0 + (1 - previous - variance) ** 0.5 * eps
        if variance > 0:
            x = x + variance**0.5 * step_noise()
        yield Step(int(chain.timesteps[index]), pred_x0, x)


def dpm_solver(chain: Chain, predict: Prediction, x: Tensor, y: Tensor, _step_noise: StepNoise) -> Iterator[Step]:
    """DPM-Solver++(2M), Lu et al. 2022 (arXiv 2211.01095), algorithm 2: second order, one prediction a step.

    The last step is of first order and leads to no noise at all: it gives the x_0 predicted there.
    """
    abar, alpha = chain.alphas_cumprod.tolist(), chain.alphas_cumprod.sqrt().tolist()
    sigma = (1 - chain.alphas_cumprod).sqrt().tolist()
    half_log_snr = (chain.alphas_cumprod / (1 - chain.alphas_cumprod)).log().div(2).tolist()
    earlier: tuple[float, Tensor] | None = None  # the step before: its length in half_log_snr, and its prediction
    for index in reversed(range(len(chain))):
        output = predict(x, fed_timesteps(chain, index, y), y)[:, : x.shape[1]]
        pred_x0, _ = chain.estimates(output, x, abar[index])
        if index == 0:
            x = pred_x0
        else:
            h = half_log_snr[index - 1] - half_log_snr[index]
            target = pred_x0
            if earlier is not None:
                before, pred_before = earlier
                target = pred_x0 + h / (2 * before) * (pred_x0 - pred_before)
            ratio = sigma[index - 1] / sigma[index]
            x = ratio * x + (alpha[index - 1] - ratio * alpha[index]) * target
            earlier = h, pred_x0
        yield Step(int(chain.timesteps[index]), pred_x0, x)


def fed_timesteps(chain: Chain, index: int, y: Tensor) -> Tensor:
    """The original timestep of ``index`` for every sample: what the network was trained with."""
    return y.new_full(y.shape, int(chain.timesteps[index]))


PAPER_SAMPLER: Final = "ddpm"

SAMPLERS: dict[str, Sampler] = {
    row.name: row
    for row in (
        Sampler(
            name="ddpm",
            label="ancestral, learned variance",
            walk=ancestral,
            timesteps=spaced_timesteps,
            stochastic=True,
            learned_variance=True,
            note="the paper's",
        ),
        Sampler(
            name="ddim",
            label="DDIM, deterministic",
            walk=ddim,
            timesteps=strided_timesteps,
            stochastic=False,
            learned_variance=False,
            note="for quick looks with few steps",
        ),
        Sampler(
            name="dpm-solver",
            label="DPM-Solver++(2M), deterministic",
            walk=dpm_solver,
            timesteps=upper_timesteps,
            stochastic=False,
            learned_variance=False,
            note="for quick looks with fewer steps than DDIM",
        ),
        Sampler(
            name="euler",
            label="Euler, deterministic",
            walk=euler,
            timesteps=even_times,
            stochastic=False,
            learned_variance=False,
            note="the plainest for flow matching",
            objective="flow",
        ),
        Sampler(
            name="heun",
            label="Heun, deterministic",
            walk=heun,
            timesteps=even_times,
            stochastic=False,
            learned_variance=False,
            note="for flow matching with few steps, of two evaluations each",
            objective="flow",
            evaluations=lambda steps: 2 * steps - 1,
        ),
        Sampler(
            name="euler-maruyama",
            label="Euler-Maruyama on SiT's SDE",
            walk=euler_maruyama,
            timesteps=even_times,
            stochastic=True,
            learned_variance=False,
            note="SiT's stochastic one",
            objective="flow",
        ),
    )
}
"""Every sampler that a study can name (config key ``sampling.sampler``)."""


@dataclass(frozen=True)
class SamplingOptions:
    """How latents are sampled; the defaults are the paper's, without guidance."""

    sampler: str = PAPER_SAMPLER
    """A row of ``SAMPLERS``."""
    steps: int = 250
    """Timesteps visited."""
    guidance_scale: float = 1.0
    """1.0 samples the conditional model at half the cost."""
    guidance_channels: int | None = 3
    """Latent channels under guidance, counted from the first; None for all."""
