"""Walking a chain back from noise to latents: ancestral sampling as in the paper, DDIM for quick looks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from dit_scaling.diffusion.chain import Chain

Prediction = Callable[[Tensor, Tensor, Tensor], Tensor]  # (x, t, y) -> (N, 2C, H, W)


class Denoiser(Protocol):
    """A network as samplers need it; the label ``num_classes`` is its null class."""

    num_classes: int
    training: bool

    def __call__(self, x: Tensor, t: Tensor, y: Tensor, /) -> Tensor: ...

    def train(self, mode: bool = True) -> Any: ...


def guided(model: Denoiser, scale: float, channels: int | None) -> Prediction:
    """Classifier-free guidance: eps = eps_null + scale (eps_y - eps_null) on the first ``channels``, or on all (None).

    The other channels and the variance are the conditional ones. Scale 1 costs one evaluation, others two in one batch.
    """
    if scale == 1.0:
        return model

    def predict(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        labels = torch.cat([y, torch.full_like(y, model.num_classes)])
        conditional, null = model(torch.cat([x, x]), torch.cat([t, t]), labels).chunk(2)
        count = x.shape[1] if channels is None else min(channels, x.shape[1])
        return torch.cat([torch.lerp(null[:, :count], conditional[:, :count], scale), conditional[:, count:]], dim=1)

    return predict


def ancestral(chain: Chain, predict: Prediction, x: Tensor, y: Tensor, step_noise: Callable[[], Tensor]) -> Tensor:
    """Draw x_{t-1} from p(x_{t-1} | x_t) down the chain; the last step returns its mean (DDPM, algorithm 2)."""
    for index in reversed(range(len(chain))):
        output = predict(x, _timesteps(chain, index, y), y)
        x, log_variance, _ = chain.p_mean_variance(output, x, index)
        if index > 0:
            x = x + torch.exp(0.5 * log_variance) * step_noise()
    return x


def ddim(
    chain: Chain, predict: Prediction, x: Tensor, y: Tensor, eta: float, step_noise: Callable[[], Tensor]
) -> Tensor:
    """Song et al. 2021, equation 12: deterministic for ``eta`` 0, with the posterior's variance for 1."""
    abar = [1.0, *chain.alphas_cumprod.tolist()]
    for index in reversed(range(len(chain))):
        eps = predict(x, _timesteps(chain, index, y), y)[:, : x.shape[1]]
        now, previous = abar[index + 1], abar[index]
        variance = eta**2 * (1 - previous) / (1 - now) * (1 - now / previous)
        pred_x0 = (x - (1 - now) ** 0.5 * eps) / now**0.5
        x = previous**0.5 * pred_x0 + (1 - previous - variance) ** 0.5 * eps
        if variance > 0:
            x = x + variance**0.5 * step_noise()
    return x


@contextmanager
def evaluating(model: Denoiser) -> Iterator[None]:
    """Evaluation mode without gradients; the model's own mode comes back at the end."""
    was_training = model.training
    model.train(False)
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)


def normal_noise(like: Tensor, generator: torch.Generator | None) -> Callable[[], Tensor]:
    """Draws of the shape of ``like``, made where the generator lives."""
    device = like.device if generator is None else generator.device
    return lambda: torch.randn(like.shape, generator=generator, device=device, dtype=like.dtype).to(like.device)


def _timesteps(chain: Chain, index: int, y: Tensor) -> Tensor:
    """The original timestep of ``index`` for every sample: what the network was trained with."""
    return torch.full_like(y, int(chain.timesteps[index]))
