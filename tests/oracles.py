"""diffusers' DiT with our weights: the independent implementation that models and exports are compared with."""

import contextlib
import io
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dit_scaling.models import DiT


def build_diffusers_dit(model: DiT, timestep_shift: float = 0.0) -> Any:
    """diffusers' DiTTransformer2DModel in the proportions of ``model``, in evaluation mode, with weights of its own.

    Args:
        timestep_shift: 0 for the paper's timestep frequencies 10000^(-i/128); diffusers ships 1, which gives i/127.
    """
    with contextlib.redirect_stderr(io.StringIO()):  # diffusers warns of optional packages when imported
        from diffusers import DiTTransformer2DModel
        from diffusers.models.embeddings import Timesteps
    oracle = DiTTransformer2DModel(
        num_attention_heads=model.variant.heads,
        attention_head_dim=model.variant.width // model.variant.heads,
        in_channels=model.in_channels,
        out_channels=2 * model.in_channels,
        num_layers=model.variant.layers,
        sample_size=model.input_size,
        patch_size=model.variant.patch,
        num_embeds_ada_norm=model.num_classes,
        norm_eps=1e-6,
    )
    for module in oracle.modules():
        if isinstance(module, Timesteps):
            module.downscale_freq_shift = timestep_shift
    return oracle.eval()


def to_diffusers_state(weights: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """Our weights under diffusers' names; differentiable, so that gradients can be compared under ours."""

    def linear(ours: str, theirs: str) -> dict[str, Tensor]:
        return {f"{theirs}.{kind}": weights[f"{ours}.{kind}"] for kind in ("weight", "bias")}

    state = linear("x_embedder.proj", "pos_embed.proj")
    state |= linear("final_layer.adaLN_modulation.1", "proj_out_1") | linear("final_layer.linear", "proj_out_2")
    for layer in range(layers):
        ours, theirs = f"blocks.{layer}", f"transformer_blocks.{layer}"
        state |= linear("t_embedder.mlp.0", f"{theirs}.norm1.emb.timestep_embedder.linear_1")
        state |= linear("t_embedder.mlp.2", f"{theirs}.norm1.emb.timestep_embedder.linear_2")
        table = weights["y_embedder.embedding_table.weight"]
        state[f"{theirs}.norm1.emb.class_embedder.embedding_table.weight"] = table
        state |= linear(f"{ours}.adaLN_modulation.1", f"{theirs}.norm1.linear")
        for kind in ("weight", "bias"):
            qkv = weights[f"{ours}.attn.qkv.{kind}"].chunk(3)
            state |= {f"{theirs}.attn1.to_{letter}.{kind}": part for letter, part in zip("qkv", qkv, strict=True)}
        state |= linear(f"{ours}.attn.proj", f"{theirs}.attn1.to_out.0")
        state |= linear(f"{ours}.mlp.fc1", f"{theirs}.ff.net.0.proj") | linear(f"{ours}.mlp.fc2", f"{theirs}.ff.net.2")
    return state


def randomize(model: DiT, std: float = 0.1, seed: int = 0) -> DiT:
    """Move every weight away from its initial value, the zeros of adaLN and of the final layer too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(std * torch.randn(parameter.shape, generator=generator))
    return model
