"""A network that samples in bfloat16, for a sampler that computes in float32."""

from typing import Any

from torch import Tensor

from dit_scaling.common.devices import arithmetic
from dit_scaling.diffusion.denoiser import Denoiser


class InBfloat16:
    """The model under autocast in bfloat16; its outputs are float32, as the sampler's arithmetic is."""

    def __init__(self, model: Denoiser) -> None:
        self._model = model
        self.num_classes = model.num_classes
        self.training = model.training

    def __call__(self, x: Tensor, t: Tensor, y: Tensor, /) -> Tensor:
        with arithmetic("bfloat16", x.device):
            output: Tensor = self._model(x, t, y)
        return output.float()

    def train(self, mode: bool = True) -> Any:
        """As the model's."""
        self.training = mode
        return self._model.train(mode)
