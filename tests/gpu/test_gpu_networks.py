"""Blocks in the widths of S/2 and XL/2: outputs and gradients on the device, against float64 on the CPU.

Two blocks instead of 12 and 28, at the full 256 tokens: errors of rounding add up over depth, mistakes do not wait.
"""

import pytest
import torch
from torch import Tensor

from bounds import Below
from dit_scaling.common.devices import matrix_products
from dit_scaling.models import DiT
from dit_scaling.models.compiling import compiled
from dit_scaling.variants import Variant
from oracles import randomize

pytestmark = pytest.mark.gpu

SIZES = {"S/2": (384, 6), "XL/2": (1152, 16)}
BOUNDS = {"float32": 1e-5, "tf32": 3e-3, "bfloat16": 2e-2}
"""Relative norm of the error of the output; twice as much of the gradient."""


def inputs(count: int, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Latents, timesteps, labels, and the weights of the output in the sum that is differentiated."""
    rng = torch.Generator().manual_seed(1)
    x, weights = torch.randn(count, 4, size, size, generator=rng), torch.randn(count, 8, size, size, generator=rng)
    return x, torch.arange(count) * 300, torch.arange(count), weights


def output_and_gradient(model: DiT, device: torch.device, dtype: torch.dtype, precision: str) -> tuple[Tensor, Tensor]:
    """Output and all gradients as float64 vectors on the CPU."""
    x, t, y, weights = inputs(3, model.input_size)
    model.zero_grad()
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"), matrix_products(precision):
        output = model(x.to(device, dtype), t.to(device), y.to(device))
        torch.autograd.backward((output * weights.to(device, dtype)).sum())
    gradients = [parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]
    return output.detach().cpu().double(), torch.cat(gradients).cpu().double()


def relative(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).norm() / exact.norm())


@pytest.fixture(scope="module", params=SIZES)
def network(request: pytest.FixtureRequest, full_size: bool) -> DiT:
    hidden_size, heads = SIZES[request.param]
    size = 32 if full_size else 16
    torch.manual_seed(0)
    name = request.param.partition("/")[0]
    return randomize(
        DiT(Variant(size=name, patch=2, depth=2, hidden_size=hidden_size, num_heads=heads), size, 10, 4), 0.02
    )


@pytest.fixture(scope="module")
def exact(network: DiT) -> tuple[Tensor, Tensor]:
    found = output_and_gradient(network.double(), torch.device("cpu"), torch.float64, "float32")
    network.float()
    return found


@pytest.mark.parametrize("precision", BOUNDS)
def test_outputs_and_gradients(
    network: DiT, exact: tuple[Tensor, Tensor], device: torch.device, precision: str, below: Below
) -> None:
    output, gradient = output_and_gradient(network.to(device), device, torch.float32, precision)
    label = f"DiT-{network.variant.size}/2-wide blocks, {precision}"
    below(f"{label}: output", relative(output, exact[0]), BOUNDS[precision])
    below(f"{label}: gradient", relative(gradient, exact[1]), 2 * BOUNDS[precision])


def test_outputs_and_gradients_as_fast_training_has_them(
    network: DiT, exact: tuple[Tensor, Tensor], device: torch.device, below: Below
) -> None:
    fast = compiled(network.to(device))
    output, gradient = output_and_gradient(fast, device, torch.float32, "bfloat16")
    label = f"DiT-{network.variant.size}/2-wide blocks, bfloat16, compiled"
    below(f"{label}: output", relative(output, exact[0]), BOUNDS["bfloat16"])
    below(f"{label}: gradient", relative(gradient, exact[1]), 2 * BOUNDS["bfloat16"])
