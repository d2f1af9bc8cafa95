"""The networks of the rows: ours with weights away from their initial zeros, and diffusers' with the same weights."""

from pathlib import Path
from typing import Any

import torch

from dit_scaling.config import load_study
from dit_scaling.config.study import Study
from dit_scaling.models import DiT, create_model
from dit_scaling.variants import Variant, count_gflops, parse_variant

CONFIG = Path(__file__).parents[1] / "config" / "config.yaml"


def paper_model(name: str) -> DiT:
    """A variant on the paper's latents."""
    return build(parse_variant(name), 32, 1000, 4)


def build(variant: object, input_size: int, num_classes: int, in_channels: int) -> DiT:
    """A transformer whose weights all differ from their initial values; the same ones at every call."""
    assert isinstance(variant, Variant)
    torch.manual_seed(0)
    model = create_model(variant, input_size, num_classes, in_channels)
    assert isinstance(model, DiT)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def embedded_study() -> Study:
    """The study of config/config.yaml."""
    return load_study(CONFIG)


def embedded_variants(study: Study) -> tuple[Variant, Variant]:
    """The study's smallest and largest transformer by Gflops."""
    variants = [variant for name in study.variants if isinstance(variant := study.variant(name), Variant)]
    costs = [count_gflops(variant, study.latent_size, study.vae.latent_channels) for variant in variants]
    return variants[costs.index(min(costs))], variants[costs.index(max(costs))]


def embedded_model(position: int) -> tuple[DiT, int]:
    """The study's smallest (0) or largest (1) transformer, and the batch that it trains with."""
    study = embedded_study()
    variant = embedded_variants(study)[position]
    return build(variant, study.latent_size, study.data.classes, study.vae.latent_channels), study.training.batch_size


def diffusers_model(model: DiT) -> Any:
    """diffusers' transformer with the weights of ``model`` and the paper's timestep frequencies."""
    from diffusers.models.embeddings import Timesteps

    from dit_scaling.models.diffusers_names import to_diffusers_state
    from dit_scaling.models.export import build_transformer

    transformer = build_transformer(model)
    transformer.load_state_dict(to_diffusers_state(model.state_dict(), model.variant.depth))
    for module in transformer.modules():
        if isinstance(module, Timesteps):
            module.downscale_freq_shift = 0
    return transformer
