"""Closed-form parameter counts and multiply-adds of the transformers."""

from dit_scaling.variants.names import Variant

FREQUENCY_DIM = 256  # width of the sinusoidal timestep embedding, section 3.2's reference code
MLP_RATIO = 4


def count_dit_parameters(variant: Variant, num_classes: int, in_channels: int) -> int:
    """Weights of patch convolution, timestep MLP, label table (with its null class), blocks and final layer.

    A block has attention, MLP and adaLN; the final layer 2C output channels. The fixed position table is left out.
    """
    d, patch_dim = variant.hidden_size, variant.patch**2 * in_channels
    patchify = patch_dim * d + d
    timestep = FREQUENCY_DIM * d + d + d * d + d
    labels = (num_classes + 1) * d
    attention = 3 * d * d + 3 * d + d * d + d
    mlp = 2 * MLP_RATIO * d * d + MLP_RATIO * d + d
    modulation = 6 * d * d + 6 * d
    head = 2 * d * d + 2 * d + d * 2 * patch_dim + 2 * patch_dim
    return patchify + timestep + labels + variant.depth * (attention + mlp + modulation) + head


def count_dit_multiply_adds(variant: Variant, input_size: int, in_channels: int) -> int:
    """Per block 12 d^2 per token for the linear layers, 2 T^2 d for attention, 6 d^2 for adaLN.

    Then patch convolution, timestep MLP and head. Reproduces all twelve values of Table 4 within 0.03 Gflops.
    """
    d, tokens, patch_dim = variant.hidden_size, (input_size // variant.patch) ** 2, variant.patch**2 * in_channels
    patchify = tokens * patch_dim * d
    timestep = FREQUENCY_DIM * d + d * d
    block = 12 * d * d * tokens + 2 * tokens * tokens * d + 6 * d * d
    head = 2 * d * d + tokens * d * 2 * patch_dim
    return patchify + timestep + variant.depth * block + head


def dit_problems(variant: Variant, input_size: int) -> list[str]:
    """What keeps a transformer from being built on latents of ``input_size``; empty where nothing does."""
    problems, key = [], f"sizes.{variant.size}"
    if input_size % variant.patch:
        problems.append(f"variants: {variant.name}: latent size {input_size} is not divisible by patch {variant.patch}")
    if variant.hidden_size % variant.num_heads:
        problems.append(f"{key}: hidden_size {variant.hidden_size} is not divisible by num_heads {variant.num_heads}")
    if variant.hidden_size % 4:
        problems.append(f"{key}: hidden_size {variant.hidden_size} is not divisible by 4 (2-D sin-cos positions)")
    return problems
