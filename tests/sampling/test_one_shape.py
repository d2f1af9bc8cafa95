"""A network that is compiled for one batch size, in chains whose last batch is smaller."""

from typing import Any

import pytest
import torch
from torch import Tensor

from dit_scaling.diffusion.denoiser import guided
from dit_scaling.sampling.one_shape import OneShape


class Noted:
    """A network whose rows know nothing of one another, and which notes the shapes that it is given."""

    num_classes = 3
    training = False

    def __init__(self) -> None:
        self.shapes = set[tuple[tuple[int, ...], ...]]()

    def __call__(self, x: Tensor, t: Tensor, y: Tensor, /) -> Tensor:
        self.shapes.add((tuple(x.shape), tuple(t.shape), tuple(y.shape)))
        return torch.cat([x * y.view(-1, 1, 1, 1), x + t.view(-1, 1, 1, 1)], dim=1)

    def train(self, mode: bool = True) -> Any:
        self.training = mode


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_a_smaller_batch_has_the_same_shape_and_the_same_rows(scale: float) -> None:
    network = Noted()
    plain, filled = (guided(model, scale, channels=3) for model in (Noted(), OneShape(network)))
    for rows in (5, 5, 2, 1):
        x, y = torch.randn(rows, 4, 2, 2), torch.randint(3, (rows,))
        t = torch.full((rows,), 7)
        torch.testing.assert_close(filled(x, t, y), plain(x, t, y), rtol=0, atol=0)
    rows = 5 if scale == 1.0 else 10
    assert network.shapes == {((rows, 4, 2, 2), (rows,), (rows,))}


def test_the_mode_is_the_networks() -> None:
    network = Noted()
    OneShape(network).train(True)
    assert network.training
