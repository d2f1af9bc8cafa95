"""What variants cost: weights, tokens, and "Gflops": as in the paper 1e9 multiply-adds of a forward pass."""

from dit_scaling.variants.families import family_row
from dit_scaling.variants.names import AnyVariant

TRAINING_PASSES = 3
"""Forward passes that a step of training costs as much as: a backward pass is two, products with the weights and with
the activations."""


def count_tokens(variant: AnyVariant, input_size: int) -> int | None:
    """Number of patches T = (I/p)^2 of a latent of ``input_size`` x ``input_size``; None where there are no patches."""
    return None if variant.patch is None else (input_size // variant.patch) ** 2


def count_parameters(variant: AnyVariant, num_classes: int = 1000, in_channels: int = 4, *, input_size: int) -> int:
    """Number of trained weights; ``input_size`` matters to classes of one's own alone."""
    return family_row(variant).parameters(variant, num_classes, in_channels, input_size)


def count_gflops(variant: AnyVariant, input_size: int = 32, in_channels: int = 4) -> float:
    """Multiply-adds of one forward pass of one latent, in units of 1e9."""
    return family_row(variant).multiply_adds(variant, input_size, in_channels) / 1e9


def training_gflops(gflops: float, images: float) -> float:
    """Compute of training in 1e9 multiply-adds: Gflops x batch x steps x 3, as in figure 9 of the paper.

    Args:
        gflops: of one forward pass of one latent.
        images: seen in training, steps times batch.
    """
    return TRAINING_PASSES * gflops * images
