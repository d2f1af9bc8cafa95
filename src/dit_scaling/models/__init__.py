"""The study's networks by name, with their size and cost.

Every network maps noisy latents (N, C, H, W), timesteps (N,) and labels (N,) to (N, 2C, H, W).
"""

from dit_scaling import variants
from dit_scaling.models.dit import DiT
from dit_scaling.variants import Variant, parse_variant

__all__ = ["DiT", "count_gflops", "count_parameters", "create_model"]


def create_model(name: str | Variant, input_size: int = 32, num_classes: int = 1000, in_channels: int = 4) -> DiT:
    """An untrained model, which predicts exactly zero until its first update (adaLN-Zero).

    Args:
        name: ``DiT-XL/2`` and the like, or a ``Variant`` for a size outside the paper's table.
        input_size: height and width of the latents.
        num_classes: number of classes without the null class, which gets the label ``num_classes``.
        in_channels: channels C of the latents; the model returns 2C.

    Raises:
        UserError: the name is unknown, or the sizes do not fit together.
    """
    return DiT(_as_variant(name), input_size, num_classes, in_channels)


def count_parameters(name: str | Variant, num_classes: int = 1000, in_channels: int = 4) -> int:
    """Number of trainable weights; see ``dit_scaling.variants.count_parameters``."""
    return variants.count_parameters(_as_variant(name), num_classes, in_channels)


def count_gflops(name: str | Variant, input_size: int = 32, in_channels: int = 4) -> float:
    """The paper's Gflops: 1e9 multiply-adds of one forward pass of one latent."""
    return variants.count_gflops(_as_variant(name), input_size, in_channels)


def _as_variant(name: str | Variant) -> Variant:
    return parse_variant(name) if isinstance(name, str) else name
