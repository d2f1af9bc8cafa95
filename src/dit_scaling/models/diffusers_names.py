"""Our weights under diffusers' names and back, and what a ``DiTTransformer2DModel`` must be to be one of our models."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from dit_scaling.models.dit import NORM_EPS, position_table

MARK = "transformer_blocks.0.norm1.linear.weight"
"""A key that diffusers' state dicts have, and ours do not."""
FIXED: Mapping[str, Any] = {
    "activation_fn": "gelu-approximate",
    "attention_bias": True,
    "dropout": 0.0,
    "norm_elementwise_affine": False,
    "norm_eps": NORM_EPS,
    "norm_type": "ada_norm_zero",
    "upcast_attention": False,
}
"""Settings of diffusers' transformer that our models have one value of."""
SIZES = (
    "num_attention_heads",
    "attention_head_dim",
    "in_channels",
    "num_layers",
    "sample_size",
    "patch_size",
    "num_embeds_ada_norm",
)
UNUSED = ("norm_num_groups", "out_channels")  # the first is of another norm; the second must be twice in_channels


def config_problem(config: Mapping[str, Any]) -> str | None:
    """Why a transformer's config.json is none of our models'; None where it is one."""
    for key in SIZES:
        if type(config.get(key)) is not int or config[key] < 1:
            return f"{key} is {config.get(key)!r}, not a whole number"
    for key, value in FIXED.items():
        if config.get(key, value) != value:
            return f"{key} is {config[key]!r}, but DiT's is {value!r}"
    if config.get("out_channels") != 2 * config["in_channels"]:
        return f"out_channels is {config.get('out_channels')!r}, not twice in_channels ({config['in_channels']})"
    for key in config.keys() - FIXED.keys() - {*SIZES, *UNUSED}:
        if not key.startswith("_"):
            return f"{key} is unknown here, and might change what the network computes"
    return None


def to_diffusers_state(weights: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """Our weights under diffusers' names, which repeat the embedders of timestep and label in every block.

    The fixed position table, which diffusers makes itself, is left out. Gradients flow back to ``weights``.
    """
    state = {theirs: weights[ours] for ours, theirs in _shared(layers)}
    for layer in range(layers):
        for kind in ("weight", "bias"):
            qkv = weights[f"blocks.{layer}.attn.qkv.{kind}"].chunk(3)
            state |= dict(zip(_projections(layer, kind), qkv, strict=True))
    return state


def from_diffusers_state(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """The inverse of `to_diffusers_state`, with the position table; unknown keys stay as they are.

    Args:
        state: diffusers' weights, in any precision.
        config: of the transformer, without a `config_problem`.

    Raises:
        KeyError: a weight is missing.
        ValueError: blocks that must share the embedders of timestep and label do not.
    """
    layers, rest = config["num_layers"], dict(state)
    weights: dict[str, Tensor] = {}
    for ours, theirs in _shared(layers):
        found = rest.pop(theirs)
        if not weights.setdefault(ours, found).equal(found):
            raise ValueError(f"{theirs} differs from that of the first block")
    for layer in range(layers):
        for kind in ("weight", "bias"):
            parts = [rest.pop(name) for name in _projections(layer, kind)]
            weights[f"blocks.{layer}.attn.qkv.{kind}"] = torch.cat(parts)
    rest.pop("pos_embed.pos_embed", None)  # older versions of diffusers kept the table
    width = config["num_attention_heads"] * config["attention_head_dim"]
    return {**weights, **rest, "pos_embed": position_table(width, config["sample_size"] // config["patch_size"])}


def _shared(layers: int) -> Iterator[tuple[str, str]]:
    """(our name, diffusers' name) of every weight but those of queries, keys and values."""

    def linear(ours: str, theirs: str) -> Iterator[tuple[str, str]]:
        return ((f"{ours}.{kind}", f"{theirs}.{kind}") for kind in ("weight", "bias"))

    yield from linear("x_embedder.proj", "pos_embed.proj")
    yield from linear("final_layer.adaLN_modulation.1", "proj_out_1")
    yield from linear("final_layer.linear", "proj_out_2")
    for layer in range(layers):
        ours, theirs = f"blocks.{layer}", f"transformer_blocks.{layer}"
        embedders = f"{theirs}.norm1.emb"
        yield from linear("t_embedder.mlp.0", f"{embedders}.timestep_embedder.linear_1")
        yield from linear("t_embedder.mlp.2", f"{embedders}.timestep_embedder.linear_2")
        yield "y_embedder.embedding_table.weight", f"{embedders}.class_embedder.embedding_table.weight"
        yield from linear(f"{ours}.adaLN_modulation.1", f"{theirs}.norm1.linear")
        yield from linear(f"{ours}.attn.proj", f"{theirs}.attn1.to_out.0")
        yield from linear(f"{ours}.mlp.fc1", f"{theirs}.ff.net.0.proj")
        yield from linear(f"{ours}.mlp.fc2", f"{theirs}.ff.net.2")


def _projections(layer: int, kind: str) -> tuple[str, ...]:
    return tuple(f"transformer_blocks.{layer}.attn1.to_{letter}.{kind}" for letter in "qkv")
