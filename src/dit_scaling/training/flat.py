"""All weights of a model as one contiguous tensor.

AdamW and EMA act on each weight alone, so one flat update equals the update per parameter, at the cost of
two operators a step instead of several per parameter. At small widths that overhead is most of a step.
"""

import torch
from torch import Tensor, nn


class FlatParameters:
    """Makes a model's parameters, and their gradients, views of two flat tensors."""

    def __init__(self, model: nn.Module) -> None:
        named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
        self._shapes = {name: parameter.shape for name, parameter in named}
        device = named[0][1].device
        size = sum(parameter.numel() for _, parameter in named)
        self.weights = nn.Parameter(torch.empty(size, device=device))
        self.gradient = torch.zeros(size, device=device)
        self.weights.grad = self.gradient
        for (_, parameter), weight, gradient in zip(
            named, self._split(self.weights.data), self._split(self.gradient), strict=True
        ):
            weight.copy_(parameter.data)
            parameter.data = weight
            parameter.grad = gradient

    def _split(self, flat: Tensor) -> list[Tensor]:
        parts = flat.split([shape.numel() for shape in self._shapes.values()])
        return [part.view(shape) for part, shape in zip(parts, self._shapes.values(), strict=True)]

    def named(self, flat: Tensor) -> dict[str, Tensor]:
        """A flat tensor of weights (n,) as tensors by parameter name."""
        return dict(zip(self._shapes, self._split(flat), strict=True))
