"""A network that is compiled for one batch size, in chains whose last batch is smaller."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dit_scaling.diffusion.denoiser import guided
from dit_scaling.models.compiling import compiled, compiler_found
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


class Overwritten(Noted):
    """A network with one place for its outputs, as a CUDA graph has."""

    def __init__(self) -> None:
        super().__init__()
        self.output = torch.empty(2, 8, 2, 2)

    def __call__(self, x: Tensor, t: Tensor, y: Tensor, /) -> Tensor:
        return self.output.copy_(super().__call__(x, t, y))


def test_an_output_stays_when_the_next_one_is_made() -> None:
    model, x, t = OneShape(Overwritten()), torch.ones(2, 4, 2, 2), torch.zeros(2)
    first = model(x, t, t)
    kept = first.clone()
    model(2 * x, t + 1, t + 1)
    torch.testing.assert_close(first, kept, rtol=0, atol=0)


@pytest.mark.skipif(not compiler_found(), reason="no C++ compiler on this machine")
@pytest.mark.parametrize(("device", "graphs", "mode"), [("cuda", True, "reduce-overhead"), ("cuda", False, "default")])
def test_graphs_are_asked_of_the_compiler(
    monkeypatch: pytest.MonkeyPatch, device: str, graphs: bool, mode: str
) -> None:
    asked = dict[str, Any]()
    monkeypatch.setattr(nn.Module, "compile", lambda _self, **options: asked.update(options))
    network = nn.Linear(1, 1)
    monkeypatch.setattr(network, "parameters", lambda: iter([SimpleNamespace(device=torch.device(device))]))
    compiled(network, graphs=graphs)
    assert asked == {"dynamic": False, "mode": mode}


@pytest.mark.skipif(not compiler_found(), reason="no C++ compiler on this machine")
def test_without_a_gpu_graphs_are_left_out_with_a_message(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = dict[str, Any]()
    monkeypatch.setattr(nn.Module, "compile", lambda _self, **options: asked.update(options))
    compiled(nn.Linear(1, 1), graphs=True)
    assert asked["mode"] == "default"
    assert "resources.cuda_graphs: only GPUs have graphs" in caplog.text
