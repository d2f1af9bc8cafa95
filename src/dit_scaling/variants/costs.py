"""Closed-form parameter counts and Gflops of the variants.

"Gflops" are, as in the paper, 1e9 multiply-adds of one forward pass on one latent.
"""

from dit_scaling.variants.names import AnyVariant, UNetVariant
from dit_scaling.variants.unet_costs import count_unet_multiply_adds, count_unet_parameters

FREQUENCY_DIM = 256  # width of the sinusoidal timestep embedding, section 3.2's reference code
MLP_RATIO = 4
TRAINING_PASSES = 3
"""Forward passes that a step of training costs as much as: a backward pass is two, products with the weights and with
the activations."""


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


def training_gflops(gflops: float, images: float) -> float:
    """Compute of training in 1e9 multiply-adds: Gflops x batch x steps x 3, as in figure 9 of the paper.

    Args:
        gflops: of one forward pass of one latent.
        images: seen in training, steps times batch.
    """
    return TRAINING_PASSES * gflops * images
