"""A compiled network, which is compiled for one batch size, in a chain whose last batch is smaller."""

from typing import Any

import torch
from torch import Tensor

from dit_scaling.diffusion.denoiser import Denoiser
from dit_scaling.models import Network
from dit_scaling.models.compiling import compiled


def compiled_sampler(model: Network, *, graphs: bool = False) -> "OneShape":
    """The model, on its device, as a compiled sampler has it; ``graphs`` as in `compiled`."""
    return OneShape(compiled(model, "sampling.compile", graphs=graphs))


class OneShape:
    """The model on batches of the size of the first one: smaller ones are filled up with their first row.

    Rows do not see one another, so what comes out for a row is what the model gives, and nothing is compiled again.
    """

    def __init__(self, model: Denoiser) -> None:
        self._model = model
        self._rows = 0
        self.num_classes = model.num_classes
        self.training = model.training

    def __call__(self, x: Tensor, t: Tensor, y: Tensor, /) -> Tensor:
        self._rows = max(self._rows, len(x))
        output = self._model(*(self._filled(rows) for rows in (x, t, y)))
        # A copy, as a CUDA graph writes its next output over this one.
        return output[: len(x)].clone()

    def train(self, mode: bool = True) -> Any:
        """As the model's."""
        self.training = mode
        return self._model.train(mode)

    def _filled(self, rows: Tensor) -> Tensor:
        # A copy in any case: what is made in inference mode is another kind of tensor, compiled for apart.
        return torch.cat([rows, rows[:1].expand(self._rows - len(rows), *rows.shape[1:])])
