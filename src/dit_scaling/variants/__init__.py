"""Variants by name, their sizes, and what they cost; without torch, so that plans, plots and the Snakefile can ask."""

from dit_scaling.variants.costs import (
    FREQUENCY_DIM,
    MLP_RATIO,
    TRAINING_PASSES,
    count_gflops,
    count_parameters,
    count_tokens,
    training_gflops,
)
from dit_scaling.variants.names import (
    UNET,
    AnyVariant,
    SizeName,
    UNetVariant,
    Variant,
    VariantName,
    parse_variant,
    usual_names,
    variant_from_fields,
)
from dit_scaling.variants.sizes import SIZES, UNET_SIZES, Size, UNetSize, unet_problems

__all__ = [
    "FREQUENCY_DIM",
    "MLP_RATIO",
    "SIZES",
    "TRAINING_PASSES",
    "UNET",
    "UNET_SIZES",
    "AnyVariant",
    "Size",
    "SizeName",
    "UNetSize",
    "UNetVariant",
    "Variant",
    "VariantName",
    "count_gflops",
    "count_parameters",
    "count_tokens",
    "parse_variant",
    "training_gflops",
    "unet_problems",
    "usual_names",
    "variant_from_fields",
]
