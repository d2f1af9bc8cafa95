"""Variants by name: the paper's size table, closed-form parameter counts and Gflops.

This module needs neither torch nor any other library, so that plans, plots and the Snakefile can use it.
"Gflops" are, as in the paper, 1e9 multiply-adds of one forward pass on one latent.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from dit_scaling.errors import UserError

FREQUENCY_DIM = 256  # width of the sinusoidal timestep embedding, section 3.2's reference code
MLP_RATIO = 4

VARIANT_NAME = re.compile(r"(?P<family>[A-Za-z]+)-(?P<size>[A-Za-z0-9]+)/(?P<patch>[1-9][0-9]*)")


@dataclass(frozen=True)
class Size:
    """Depth, width and number of attention heads of one model size (Table 1)."""

    layers: int
    width: int
    heads: int


PAPER_SIZES: Mapping[str, Size] = {
    "S": Size(layers=12, width=384, heads=6),
    "B": Size(layers=12, width=768, heads=12),
    "L": Size(layers=24, width=1024, heads=16),
    "XL": Size(layers=28, width=1152, heads=16),
}


@dataclass(frozen=True)
class Variant:
    """One model of a study: ``DiT-XL/2`` is size XL with patch 2."""

    family: str
    size: str
    patch: int
    layers: int
    width: int
    heads: int

    @property
    def name(self) -> str:
        return f"{self.family}-{self.size}/{self.patch}"

    @property
    def slug(self) -> str:
        """The name as part of a path: a slash is no part of a wildcard."""
        return self.name.replace("/", "-")


def parse_variant(name: str, extra_sizes: Mapping[str, Size] | None = None) -> Variant:
    """Look up ``DiT-SIZE/PATCH`` among the paper's sizes and ``extra_sizes``.

    Raises:
        UserError: the name has another form, or the size is not in the table.
    """
    match = VARIANT_NAME.fullmatch(name)
    if match is None or match["family"] != "DiT":
        raise UserError(f"'{name}' is not a variant name. Write DiT-SIZE/PATCH, for example DiT-XL/2.")
    sizes = {**PAPER_SIZES, **(extra_sizes or {})}
    if match["size"] not in sizes:
        raise UserError(f"'{name}': size '{match['size']}' is not in the size table ({', '.join(sizes)}).")
    size = sizes[match["size"]]
    return Variant(match["family"], match["size"], int(match["patch"]), size.layers, size.width, size.heads)


def count_tokens(variant: Variant, input_size: int) -> int:
    """Number of patches T = (I/p)^2 of a latent of ``input_size`` x ``input_size``."""
    return (input_size // variant.patch) ** 2


def count_parameters(variant: Variant, num_classes: int = 1000, in_channels: int = 4) -> int:
    """Number of weights, the fixed position table left out.

    Sums patch convolution, timestep MLP, label table (with its null class), ``layers`` blocks of attention,
    MLP and adaLN, and the final layer with its 2C output channels.
    """
    d, patch_dim = variant.width, variant.patch**2 * in_channels
    patchify = patch_dim * d + d
    timestep = FREQUENCY_DIM * d + d + d * d + d
    labels = (num_classes + 1) * d
    attention = 3 * d * d + 3 * d + d * d + d
    mlp = 2 * MLP_RATIO * d * d + MLP_RATIO * d + d
    modulation = 6 * d * d + 6 * d
    head = 2 * d * d + 2 * d + d * 2 * patch_dim + 2 * patch_dim
    return patchify + timestep + labels + variant.layers * (attention + mlp + modulation) + head


def count_gflops(variant: Variant, input_size: int = 32, in_channels: int = 4) -> float:
    """Multiply-adds of one forward pass of one latent, in units of 1e9.

    Per block 12 d^2 per token for the linear layers, 2 T^2 d for attention, 6 d^2 for adaLN; then patch
    convolution, timestep MLP and head. Reproduces all twelve values of Table 4 within 0.03.
    """
    d, tokens, patch_dim = variant.width, count_tokens(variant, input_size), variant.patch**2 * in_channels
    patchify = tokens * patch_dim * d
    timestep = FREQUENCY_DIM * d + d * d
    block = 12 * d * d * tokens + 2 * tokens * tokens * d + 6 * d * d
    head = 2 * d * d + tokens * d * 2 * patch_dim
    return (patchify + timestep + variant.layers * block + head) / 1e9
