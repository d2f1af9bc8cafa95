"""All weights of a model as one contiguous tensor.

The EMA acts on each weight alone, so that one flat update equals the update per parameter at the cost of one operator;
and a state on disk is a few tensors. Gradients stay apart: autograd hands each over where it made it, while adding
them to a flat tensor would cost three more passes over all weights.
"""

import torch
from torch import Tensor, nn


class FlatParameters:
    """Makes a model's trained parameters views of one flat tensor.

    Attributes:
        parameters: of the model, in its order.
        weights: (n,) all of them.
    """

    def __init__(self, model: nn.Module) -> None:
        named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        self._shapes = {name: parameter.shape for name, parameter in named.items()}
        self.parameters = list(named.values())
        self.weights = torch.cat([parameter.detach().flatten() for parameter in self.parameters])
        for parameter, weight in zip(self.parameters, self.views(self.weights), strict=True):
            parameter.data = weight

    def views(self, flat: Tensor) -> list[Tensor]:
        """A flat tensor (n,) as one tensor per parameter, in their order."""
        parts = flat.split([shape.numel() for shape in self._shapes.values()])
        return [part.view(shape) for part, shape in zip(parts, self._shapes.values(), strict=True)]

    def named(self, flat: Tensor) -> dict[str, Tensor]:
        """A flat tensor (n,) as tensors by parameter name."""
        return dict(zip(self._shapes, self.views(flat), strict=True))
