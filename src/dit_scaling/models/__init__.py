"""The study's networks by name, with their size and cost.

Every network maps noisy latents (N, C, H, W), timesteps (N,) and labels (N,) to (N, 2C, H, W).
"""

from collections.abc import Callable

from dit_scaling import variants
from dit_scaling.models.dit import DiT
from dit_scaling.models.own import OwnNetwork
from dit_scaling.models.unet import UNet
from dit_scaling.variants import UNET, AnyVariant, parse_variant

__all__ = ["DiT", "Network", "OwnNetwork", "UNet", "count_gflops", "count_parameters", "create_model"]

Network = DiT | UNet | OwnNetwork

NETWORKS: dict[str, Callable[..., Network]] = {"DiT": DiT, UNET: UNet}
"""The networks of the rows of ``variants.FAMILIES``."""


def create_model(
    name: str | AnyVariant, input_size: int = 32, num_classes: int = 1000, in_channels: int = 4
) -> Network:
    """An untrained model; those that ship predict exactly zero until their first update.

    Args:
        name: ``DiT-XL/2``, ``UNet-XL`` and the like, or a variant for a size outside these tables.
        input_size: height and width of the latents.
        num_classes: number of classes without the null class, which gets the label ``num_classes``.
        in_channels: channels C of the latents; the model returns 2C.

    Raises:
        UserError: the name is unknown, or the sizes do not fit together.
    """
    variant = _as_variant(name)
    return NETWORKS.get(variant.family, OwnNetwork)(variant, input_size, num_classes, in_channels)


def count_parameters(
    name: str | AnyVariant, num_classes: int = 1000, in_channels: int = 4, input_size: int = 32
) -> int:
    """Number of trainable weights; see ``dit_scaling.variants.count_parameters``."""
    return variants.count_parameters(_as_variant(name), num_classes, in_channels, input_size=input_size)


def count_gflops(name: str | AnyVariant, input_size: int = 32, in_channels: int = 4) -> float:
    """The paper's Gflops: 1e9 multiply-adds of one forward pass of one latent."""
    return variants.count_gflops(_as_variant(name), input_size, in_channels)


def _as_variant(name: str | AnyVariant) -> AnyVariant:
    return parse_variant(name) if isinstance(name, str) else name
