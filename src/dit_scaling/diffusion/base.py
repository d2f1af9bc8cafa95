"""What every objective gives to training, samplers and checks: times, noise levels, a loss, and samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dit_scaling.common.errors import UserError
from dit_scaling.diffusion.denoiser import Denoiser, Prediction, StepNoise, evaluating, guided, normal_noise
from dit_scaling.diffusion.process import OBJECTIVES, AnyProcess
from dit_scaling.diffusion.samplers import PAPER_SAMPLER, SAMPLERS, SamplingOptions
from dit_scaling.diffusion.walk import Step, Way

PAPER_SAMPLING = SamplingOptions()


class Level(NamedTuple):
    """How much of data and noise a noised latent holds, and the target that a network is trained to give for it.

    x_t = signal x_0 + noise eps, and the target is of_data x_0 + of_noise eps; every field has one shape.
    """

    signal: Tensor
    noise: Tensor
    of_data: Tensor
    of_noise: Tensor

    def like(self, x: Tensor) -> Level:
        """Fields (N,) shaped and typed to multiply with ``x`` (N, C, H, W)."""
        return Level(*(field.to(x).view(-1, *[1] * (x.dim() - 1)) for field in self))

    def noised(self, x0: Tensor, eps: Tensor) -> Tensor:
        """x_t."""
        return self.signal * x0 + self.noise * eps

    def target(self, x0: Tensor, eps: Tensor) -> Tensor:
        """What a network should give at x_t."""
        return self.of_data * x0 + self.of_noise * eps

    def target_of_data(self, x0: Tensor, x: Tensor) -> Tensor:
        """What a network gives at ``x`` that knows x_0; there has to be noise at this level."""
        return self.target(x0, (x - self.signal * x0) / self.noise)

    def data(self, output: Tensor, x: Tensor) -> Tensor:
        """x_0 of the pair of equations for x_t and the target."""
        return (self.of_noise * x - self.noise * output) / (self.signal * self.of_noise - self.noise * self.of_data)

    def error_by_variance(self, variance: float) -> Tensor:
        """Least error of the target for one who knows nothing of the latents but their variance v.

        For x_0 ~ N(0, v) its posterior variance given x_t: v (of_data noise - of_noise signal)^2 over
        signal^2 v + noise^2.
        """
        cross = self.of_data * self.noise - self.of_noise * self.signal
        return variance * cross**2 / (self.signal**2 * variance + self.noise**2)

    def error_untrained(self, variance: float) -> Tensor:
        """Error of the target for a network whose output is zero, as it is before its first update."""
        return self.of_data**2 * variance + self.of_noise**2


class Process(ABC):
    """A way from data to noise that networks learn to reverse. Its times are what networks are fed with."""

    settings: AnyProcess
    """What it was made of."""

    @abstractmethod
    def draw_times(self, count: int, rng: torch.Generator | None = None) -> Tensor:
        """Times of training (count,), on the CPU; ``rng`` is a generator of torch."""

    @property
    @abstractmethod
    def training_times(self) -> Tensor:
        """Times (K,) that stand for those of training, each as likely as any other."""

    @abstractmethod
    def time_at(self, share: float) -> float:
        """The time at this share of the way from data, 0, to noise, 1."""

    @abstractmethod
    def share_of(self, time: float) -> float:
        """The inverse of `time_at`."""

    @abstractmethod
    def level(self, t: Tensor) -> Level:
        """The levels of times (N,): fields (N,) float64, on the CPU."""

    @abstractmethod
    def visiting(self, times: Sequence[float]) -> Way:
        """The way over some of the times, the least noisy first."""

    @abstractmethod
    def training_losses(
        self, model: Prediction, x0: Tensor, t: Tensor, y: Tensor, noise: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``loss`` = ``mse`` + ``vb``, each (N,): the error of the target, and what trains the variance (or zero).

        Args:
            model: maps (x_t, t, y) to (N, 2C, H, W).
            x0: (N, C, H, W) latents.
            t: (N,) times; on the CPU they spare a GPU one synchronisation a step.
            y: (N,) int64 labels, class dropout already done.
            noise: (N, C, H, W); standard normal draws by default.
        """

    def respaced(self, num_steps: int, sampler: str = PAPER_SAMPLER) -> Way:
        """The way that a sampler takes in ``num_steps`` steps.

        Raises:
            UserError: it cannot take so many, or samples networks of another objective.
        """
        row = SAMPLERS[sampler]
        if row.objective != self.settings.objective:
            raise UserError(
                f"sampler {sampler} is for networks trained with objective {row.objective}, not "
                f"{self.settings.objective}: choose {OBJECTIVES[self.settings.objective].samplers_named}."
            )
        return self.visiting(row.timesteps(self.settings, num_steps))

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
            UserError: as `respaced`.
        """
        way = self.respaced(how.steps, how.sampler)
        x = noise
        with evaluating(model):
            predict = guided(model, how.guidance_scale, how.guidance_channels)
            for step in SAMPLERS[how.sampler].walk(way, predict, noise, y, step_noise or normal_noise(noise, None)):
                x = step.x
                if observe is not None:
                    observe(step)
        return x.clone()  # an ordinary tensor, which autograd accepts
