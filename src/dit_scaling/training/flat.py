"""All weights of a model as one contiguous tensor.

AdamW, clipping and EMA act on each weight alone or on all together, so one flat update equals the update per parameter,
at the cost of a few operators a step instead of several per parameter; at small widths that overhead is a tenth of a
step. And a state on disk is a few tensors.
"""

import torch
from torch import Tensor, nn


class FlatParameters:
    """Makes a model's trained parameters views of one flat tensor.

    Attributes:
        weights: (n,) all of them, in the model's order.
        gradient: (n,) of the weights, at ``weights.grad`` too, where an optimiser looks for it.
    """

    def __init__(self, model: nn.Module) -> None:
        named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        self._shapes = {name: parameter.shape for name, parameter in named.items()}
        self._parameters = list(named.values())
        self.weights = torch.cat([parameter.detach().flatten() for parameter in self._parameters])
        for parameter, weight in zip(self._parameters, self._views(self.weights), strict=True):
            parameter.data = weight
        self.weights.grad = self.gradient = torch.zeros_like(self.weights)

    def take_gradients(self) -> None:
        """Fill ``gradient`` with what autograd left at the parameters, which lose it.

        That is one copy. Having autograd add to views of ``gradient`` costs more: a pass that clears it, and an
        operator for each parameter.
        """
        gradients = [parameter.grad.flatten() for parameter in self._parameters if parameter.grad is not None]
        torch.cat(gradients, out=self.gradient)
        for parameter in self._parameters:
            parameter.grad = None

    def named(self, flat: Tensor) -> dict[str, Tensor]:
        """A flat tensor (n,) as tensors by parameter name."""
        return dict(zip(self._shapes, self._views(flat), strict=True))

    def _views(self, flat: Tensor) -> list[Tensor]:
        parts = flat.split([shape.numel() for shape in self._shapes.values()])
        return [part.view(shape) for part, shape in zip(parts, self._shapes.values(), strict=True)]
