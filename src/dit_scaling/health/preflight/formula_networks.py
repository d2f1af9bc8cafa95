"""Networks whose right answer is known by a formula, and the small one that preflight trains."""

from collections.abc import Callable

import torch
from torch import Tensor

from dit_scaling.config.stages import PreflightSettings, TrainSettings
from dit_scaling.diffusion.base import Process
from dit_scaling.variants import Variant

PROBE_PATCH = 4  # of the probe network, at most

Formula = Callable[[Tensor, Tensor, Tensor], Tensor]  # (x, t, y) -> the target (N, C, H, W)


class FormulaNetwork:
    """A network by a formula, which notes how it is called; its variance variable is 0.

    Attributes:
        training: the mode a sampler puts it in.
        modes: that mode at each call.
        timesteps: the time fed at each call.
        labels: every label it was ever given.
    """

    def __init__(self, formula: Formula, num_classes: int) -> None:
        self.num_classes = num_classes
        self.training = True
        self.modes: list[bool] = []
        self.timesteps: list[float] = []
        self.labels: set[int] = set()
        self._formula = formula

    def __call__(self, x: Tensor, t: Tensor, y: Tensor, /) -> Tensor:
        self.modes.append(self.training)
        self.timesteps.append(t[0].item())
        self.labels.update(y.tolist())
        target = self._formula(x, t, y)
        return torch.cat([target, torch.zeros_like(target)], dim=1)

    def train(self, mode: bool = True) -> None:
        """Note the mode, as a torch module would."""
        self.training = mode


def points(diffusion: Process, values: Tensor) -> Formula:
    """The exact target for data that is one constant latent per label, ``values`` (K,)."""

    def formula(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        known = values[y.clamp(max=len(values) - 1)]  # a label out of range is reported, not raised
        return diffusion.level(t).like(x).target_of_data(known.view(-1, 1, 1, 1), x)

    return formula


def mixture(diffusion: Process, weights: Tensor, means: Tensor, std: float) -> Formula:
    """The exact target for numbers drawn from sum_k w_k N(m_k, std^2), each on its own.

    x_t is then distributed as sum_k w_k N(a m_k, a^2 std^2 + s^2) with a and s the signal and noise of t; within each
    part the posterior mean of x_0 is m_k + a std^2 (x - a m_k) / (a^2 std^2 + s^2).
    """

    def formula(x: Tensor, t: Tensor, _y: Tensor) -> Tensor:
        level = diffusion.level(t).like(x)
        a = level.signal[..., None]
        variance = a**2 * std**2 + level.noise[..., None] ** 2
        distance = x[..., None] - a * means  # (N, C, H, W, K)
        share = (weights.log() - distance**2 / (2 * variance)).softmax(dim=-1)
        x0 = (share * (means + a * std**2 * distance / variance)).sum(dim=-1)
        return level.target_of_data(x0, x)

    return formula


def probe_settings(settings: PreflightSettings) -> TrainSettings:
    """A small network on the study's latents, with the study's recipe but an optimiser of its own."""
    patch = max(size for size in range(1, PROBE_PATCH + 1) if settings.input_size % size == 0)
    numbers = patch**2 * settings.in_channels  # of a patch; a width below twice that hardly lets its noise through
    width = max(64, 16 * -(-2 * numbers // 16))
    probe = TrainSettings(
        variant=Variant(size="Probe", patch=patch, depth=2, hidden_size=width, num_heads=4),
        recipe=settings.recipe,
        seed=settings.seed,
        input_size=settings.input_size,
        in_channels=settings.in_channels,
        num_classes=settings.num_classes,
        latents=settings.latents.digest,
        diffusion=settings.diffusion,
    )
    return probe.with_recipe(
        learning_rate=4.0e-3,
        weight_decay=0.0,
        betas=(0.9, 0.999),
        warmup_steps=20,
        gradient_clip=1.0,
        precision="float32",
        compile=False,
        parametrisation="standard",
    )
