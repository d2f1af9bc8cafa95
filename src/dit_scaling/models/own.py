"""A network of a class of one's own, as the rest of the project uses networks."""

from torch import Tensor, nn

from dit_scaling.common.errors import UserError
from dit_scaling.variants import ClassVariant
from dit_scaling.variants.own_class import build_class


class OwnNetwork(nn.Module):
    """Holds the class's module as ``network``: (x, t, y) to (N, 2C, H, W); without a variance to (N, C, H, W).

    What the class has to keep to is checked by ``health.contract``.

    Raises:
        UserError: the class cannot be imported or built, or makes no torch module.
    """

    def __init__(self, variant: ClassVariant, input_size: int, num_classes: int, in_channels: int) -> None:
        super().__init__()
        network = build_class(variant, input_size, num_classes, in_channels)
        if not isinstance(network, nn.Module):
            raise UserError(f"{variant.name}: {variant.family} makes a {type(network).__name__}, no torch.nn.Module.")
        self.variant = variant
        self.input_size = input_size
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.network = network

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Arguments and result as those of ``DiT.forward``."""
        output: Tensor = self.network(x, t, y)
        return output
