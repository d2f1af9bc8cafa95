"""Variants by name: the paper's size table, closed-form parameter counts and Gflops.

This module needs neither torch nor any other library, so that plans, plots and the Snakefile can use it.
"Gflops" are, as in the paper, 1e9 multiply-adds of one forward pass on one latent.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dit_scaling.common.errors import UserError
from dit_scaling.variants.unet_variants import (
    UNET,
    UNET_SIZES,
    UNetSize,
    UNetVariant,
    count_unet_multiply_adds,
    count_unet_parameters,
)

FREQUENCY_DIM = 256  # width of the sinusoidal timestep embedding, section 3.2's reference code
MLP_RATIO = 4

DIT_NAME = re.compile(r"DiT-(?P<size>[A-Za-z0-9]+)/(?P<patch>[1-9][0-9]*)")
UNET_NAME = re.compile(r"UNet-(?P<size>[A-Za-z0-9]+)")


@dataclass(frozen=True)
class Size:
    """Depth, width and number of attention heads of one model size (Table 1)."""

    depth: int
    hidden_size: int
    num_heads: int


PAPER_SIZES: Mapping[str, Size] = {
    "S": Size(depth=12, hidden_size=384, num_heads=6),
    "B": Size(depth=12, hidden_size=768, num_heads=12),
    "L": Size(depth=24, hidden_size=1024, num_heads=16),
    "XL": Size(depth=28, hidden_size=1152, num_heads=16),
}


@dataclass(frozen=True)
class Variant:
    """One transformer of a study: ``DiT-XL/2`` is size XL with patch 2."""

    family: str
    size: str
    patch: int
    depth: int
    hidden_size: int
    num_heads: int

    @property
    def name(self) -> str:
        return f"{self.family}-{self.size}/{self.patch}"

    @property
    def slug(self) -> str:
        """The name as part of a path: a slash is no part of a wildcard."""
        return self.name.replace("/", "-")


AnyVariant = Variant | UNetVariant


def parse_variant(
    name: str,
    sizes: Mapping[str, Size] | None = None,
    unet_sizes: Mapping[str, UNetSize] | None = None,
) -> AnyVariant:
    """Look up ``DiT-SIZE/PATCH`` or ``UNet-SIZE`` among the sizes shipped, ``sizes`` and ``unet_sizes``.

    Raises:
        UserError: the name has another form, or the size is not in the table.
    """
    if match := DIT_NAME.fullmatch(name):
        known = {**PAPER_SIZES, **(sizes or {})}
        _check_size(name, match["size"], known)
        size = known[match["size"]]
        return Variant("DiT", match["size"], int(match["patch"]), size.depth, size.hidden_size, size.num_heads)
    if match := UNET_NAME.fullmatch(name):
        unets = {**UNET_SIZES, **(unet_sizes or {})}
        _check_size(name, match["size"], unets)
        return UNetVariant(size=match["size"], **vars(unets[match["size"]]))
    raise UserError(
        f"'{name}' is not a variant name. Write DiT-SIZE/PATCH, for example DiT-XL/2, or UNet-SIZE, for example UNet-B."
    )


def variant_from_fields(fields: Mapping[str, Any]) -> AnyVariant:
    """A variant back from ``dataclasses.asdict`` and JSON.

    Raises:
        KeyError, TypeError: a field is missing or unknown.
    """
    if fields["family"] == UNET:
        return UNetVariant(**{**fields, "multipliers": tuple(fields["multipliers"])})
    return Variant(**fields)


def count_tokens(variant: AnyVariant, input_size: int) -> int | None:
    """Number of patches T = (I/p)^2 of a latent of ``input_size`` x ``input_size``; None for a U-Net."""
    return None if variant.patch is None else (input_size // variant.patch) ** 2


def count_parameters(variant: AnyVariant, num_classes: int = 1000, in_channels: int = 4) -> int:
    """Number of weights, the fixed position table left out.

    For a transformer it sums patch convolution, timestep MLP, label table (with its null class), ``depth`` blocks of
    attention, MLP and adaLN, and the final layer with its 2C output channels.
    """
    if isinstance(variant, UNetVariant):
        return count_unet_parameters(variant, num_classes, in_channels)
    d, patch_dim = variant.hidden_size, variant.patch**2 * in_channels
    patchify = patch_dim * d + d
    timestep = FREQUENCY_DIM * d + d + d * d + d
    labels = (num_classes + 1) * d
    attention = 3 * d * d + 3 * d + d * d + d
    mlp = 2 * MLP_RATIO * d * d + MLP_RATIO * d + d
    modulation = 6 * d * d + 6 * d
    head = 2 * d * d + 2 * d + d * 2 * patch_dim + 2 * patch_dim
    return patchify + timestep + labels + variant.depth * (attention + mlp + modulation) + head


def count_gflops(variant: AnyVariant, input_size: int = 32, in_channels: int = 4) -> float:
    """Multiply-adds of one forward pass of one latent, in units of 1e9.

    For a transformer per block 12 d^2 per token for the linear layers, 2 T^2 d for attention, 6 d^2 for adaLN; then
    patch convolution, timestep MLP and head. Reproduces all twelve values of Table 4 within 0.03.
    """
    if isinstance(variant, UNetVariant):
        return count_unet_multiply_adds(variant, input_size, in_channels) / 1e9
    d, tokens, patch_dim = variant.hidden_size, (input_size // variant.patch) ** 2, variant.patch**2 * in_channels
    patchify = tokens * patch_dim * d
    timestep = FREQUENCY_DIM * d + d * d
    block = 12 * d * d * tokens + 2 * tokens * tokens * d + 6 * d * d
    head = 2 * d * d + tokens * d * 2 * patch_dim
    return (patchify + timestep + variant.depth * block + head) / 1e9


def _check_size(name: str, size: str, known: Iterable[str]) -> None:
    if size not in known:
        raise UserError(f"'{name}': size '{size}' is not in the size table ({', '.join(known)}).")
