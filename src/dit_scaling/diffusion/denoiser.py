"""A network as samplers use it: guided, in evaluation mode, with noise for its steps."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

Prediction = Callable[[Tensor, Tensor, Tensor], Tensor]  # (x, t, y) -> (N, 2C, H, W)
StepNoise = Callable[[], Tensor]  # the next draw of (N, C, H, W) standard normal noise


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


def normal_noise(like: Tensor, generator: torch.Generator | None) -> StepNoise:
    """Draws of the shape of ``like``, made where the generator lives."""
    device = like.device if generator is None else generator.device
    return lambda: torch.randn(like.shape, generator=generator, device=device, dtype=like.dtype).to(like.device)
