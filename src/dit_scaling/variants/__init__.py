"""Variants by name, their sizes, and what they cost; without torch, so that plans, plots and the Snakefile can ask."""

from dit_scaling.variants.costs import (
    TRAINING_PASSES,
    count_gflops,
    count_parameters,
    count_tokens,
    training_gflops,
)
from dit_scaling.variants.dit_costs import FREQUENCY_DIM, MLP_RATIO
from dit_scaling.variants.families import FAMILIES, Family, family_row, parse_variant, variant_from_fields
from dit_scaling.variants.names import (
    SLUG,
    UNET,
    AnyVariant,
    ClassPath,
    ClassVariant,
    FamilyName,
    Option,
    SizeName,
    UNetVariant,
    Variant,
    VariantName,
    family_of,
    is_unpatched,
    network_of,
)
from dit_scaling.variants.sizes import SIZES, UNET_SIZES, Size, UNetSize, unet_problems

__all__ = [
    "FAMILIES",
    "FREQUENCY_DIM",
    "MLP_RATIO",
    "SIZES",
    "SLUG",
    "TRAINING_PASSES",
    "UNET",
    "UNET_SIZES",
    "AnyVariant",
    "ClassPath",
    "ClassVariant",
    "Family",
    "FamilyName",
    "Option",
    "Size",
    "SizeName",
    "UNetSize",
    "UNetVariant",
    "Variant",
    "VariantName",
    "count_gflops",
    "count_parameters",
    "count_tokens",
    "family_of",
    "family_row",
    "is_unpatched",
    "network_of",
    "parse_variant",
    "training_gflops",
    "unet_problems",
    "variant_from_fields",
]
