"""Networks whose right answer is known by a formula, and the small one that preflight trains."""

from collections.abc import Callable

import torch
from torch import Tensor

from dit_scaling.config.stages import PreflightSettings, TrainSettings
from dit_scaling.diffusion.gaussian import GaussianDiffusion
from dit_scaling.variants import Variant

PROBE_PATCH = 4  # of the probe network, at most

Formula = Callable[[Tensor, Tensor, Tensor], Tensor]  # (x, t, y) -> eps (N, C, H, W)


class FormulaNetwork:
    """A network by a formula, which notes how it is called; its variance variable is 0.

    Attributes:
        training: the mode a sampler puts it in.
        modes: that mode at each call.
        timesteps: the timestep fed at each call.
        labels: every label it was ever given.
    """

    def __init__(self, formula: Formula, num_classes: int) -> None:
        self.num_classes = num_classes
        self.training = True
        self.modes: list[bool] = []
        self.timesteps: list[int] = []
        self.labels: set[int] = set()
        self._formula = formula

    def __call__(self, x: Tensor, t: Tensor, y: Tensor, /) -> Tensor:
        self.modes.append(self.training)
        self.timesteps.append(int(t[0]))
        self.labels.update(y.tolist())
        eps = self._formula(x, t, y)
        return torch.cat([eps, torch.zeros_like(eps)], dim=1)

    def train(self, mode: bool = True) -> None:
        """Note the mode, as a torch module would."""
        self.training = mode


def signal_and_noise(diffusion: GaussianDiffusion, t: Tensor) -> tuple[Tensor, Tensor]:
    """sqrt(abar_t) and sqrt(1 - abar_t) of the process: (N, 1, 1, 1) float32."""
    abar = diffusion.alphas_cumprod[t.cpu()].to(t.device).view(-1, 1, 1, 1)
    return abar.sqrt().float(), (1 - abar).sqrt().float()


def points(diffusion: GaussianDiffusion, values: Tensor) -> Formula:
    """The exact noise for data that is one constant latent per label, ``values`` (K,): eps = (x - signal v) / noise."""

    def formula(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        signal, noise = signal_and_noise(diffusion, t)
        known = values[y.clamp(max=len(values) - 1)]  # a label out of range is reported, not raised
        return (x - signal * known.view(-1, 1, 1, 1)) / noise

    return formula


def mixture(diffusion: GaussianDiffusion, weights: Tensor, means: Tensor, std: float) -> Formula:
    """The exact noise for numbers drawn from sum_k w_k N(m_k, std^2), each on its own.

    x_t is then distributed as sum_k w_k N(a m_k, a^2 std^2 + s^2) with a and s the signal and noise of t, and
    eps = -s times its score.
    """

    def formula(x: Tensor, t: Tensor, _y: Tensor) -> Tensor:
        signal, noise = signal_and_noise(diffusion, t)
        variance = signal**2 * std**2 + noise**2
        distance = signal[..., None] * means - x[..., None]  # (N, C, H, W, K)
        share = (weights.log() - distance**2 / (2 * variance[..., None])).softmax(dim=-1)
        return -noise * (share * distance).sum(dim=-1) / variance

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
    )
