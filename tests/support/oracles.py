"""diffusers' DiT with our weights: the independent implementation that models and exports are compared with."""

import contextlib
import io
from typing import Any

import torch

from dit_scaling.models import DiT
from dit_scaling.models.export import build_transformer


def build_diffusers_dit(model: DiT, timestep_shift: float = 0.0) -> Any:
    """diffusers' DiTTransformer2DModel in the proportions of ``model``, in evaluation mode, with weights of its own.

    Args:
        timestep_shift: 0 for the paper's timestep frequencies 10000^(-i/128); diffusers ships 1, which gives i/127.
    """
    with contextlib.redirect_stderr(io.StringIO()):  # diffusers warns of optional packages when imported
        from diffusers.models.embeddings import Timesteps
    oracle = build_transformer(model)
    for module in oracle.modules():
        if isinstance(module, Timesteps):
            module.downscale_freq_shift = timestep_shift
    return oracle


def randomize(model: DiT, std: float = 0.1, seed: int = 0) -> DiT:
    """Move every weight away from its initial value, the zeros of adaLN and of the final layer too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(std * torch.randn(parameter.shape, generator=generator))
    return model
