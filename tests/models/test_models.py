"""DiT against diffusers' implementation, the paper's Table 4 and torch's operator count."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import dit_scaling
from dit_scaling.common.errors import UserError
from dit_scaling.models import DiT, count_gflops, count_parameters, create_model
from dit_scaling.models.diffusers_names import to_diffusers_state
from dit_scaling.models.dit import gelu_tanh, timestep_sinusoids
from dit_scaling.variants import Variant
from oracles import build_diffusers_dit, randomize

TABLE4 = pd.read_csv(Path(dit_scaling.__file__).parent / "paper/published/dit_table4.csv", comment="#")
TIMESTEPS = torch.tensor([0, 17, 500, 999])


def tiny(patch: int, width: int = 48, heads: int = 3) -> Variant:
    return Variant(size="Tiny", patch=patch, depth=2, hidden_size=width, num_heads=heads)


def batch(model: DiT, n: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, model.in_channels, model.input_size, model.input_size, generator=generator)
    return x, TIMESTEPS[:n], torch.tensor([0, 3, model.num_classes, 1])[:n]


def oracle_output(model: DiT, weights: Mapping[str, Tensor], timestep_shift: float = 0.0) -> Tensor:
    oracle = build_diffusers_dit(model, timestep_shift)
    x, t, y = batch(model)
    state = to_diffusers_state(weights, model.variant.depth)
    assert set(state) == set(dict(oracle.named_parameters()))
    output: Tensor = torch.func.functional_call(oracle, state, (x, t, y)).sample
    return output


@pytest.mark.parametrize("patch", [2, 4, 8])
def test_outputs_and_gradients_equal_diffusers(patch: int) -> None:
    model = randomize(create_model(tiny(patch), input_size=16, num_classes=10))
    weights = dict(model.named_parameters())
    ours, theirs = model(*batch(model)), oracle_output(model, weights)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)

    probe = torch.randn(ours.shape, generator=torch.Generator().manual_seed(2)) / ours.numel() ** 0.5
    gradients = [torch.autograd.grad((output * probe).sum(), list(weights.values())) for output in (ours, theirs)]
    for name, our, their in zip(weights, *gradients, strict=True):
        scale = max(1.0, float(their.abs().max()))
        torch.testing.assert_close(our / scale, their / scale, atol=1e-5, rtol=1e-5, msg=name)


def test_diffusers_ships_other_timestep_frequencies() -> None:
    """If this fails, diffusers has changed its frequencies: then drop the correction in oracles and export."""
    model = randomize(create_model(tiny(2), input_size=16, num_classes=10), std=0.05)
    with torch.no_grad():
        shipped, ours = oracle_output(model, dict(model.named_parameters()), timestep_shift=1.0), model(*batch(model))
    error = (shipped - ours).flatten(1).norm(dim=1) / ours.flatten(1).norm(dim=1)
    print(error)
    assert error[0] < 1e-5, "at t = 0 all frequencies agree"
    assert 0.005 < error[-1] < 0.2


def test_sinusoids_use_the_papers_frequencies() -> None:
    expected = [torch.tensor(999 * 10000 ** (-i / 128), dtype=torch.float64) for i in range(128)]
    cosines, sines = timestep_sinusoids(torch.tensor([999])).double()[0].chunk(2)
    torch.testing.assert_close(cosines, torch.stack(expected).cos(), atol=2e-4, rtol=0)
    torch.testing.assert_close(sines, torch.stack(expected).sin(), atol=2e-4, rtol=0)


def test_gelu_is_the_tanh_form_where_gradients_are_wanted_and_where_not() -> None:
    x = torch.linspace(-12, 12, 10_001)
    expected = F.gelu(x.double(), approximate="tanh")
    with torch.inference_mode():
        sampling = gelu_tanh(x)
        assert torch.equal(x, torch.linspace(-12, 12, 10_001)), "the argument stays as it is"
    torch.testing.assert_close(sampling.double(), expected, atol=2e-6, rtol=0)
    torch.testing.assert_close(gelu_tanh(x).double(), expected, atol=2e-6, rtol=0)
    torch.testing.assert_close(gelu_tanh(x.bfloat16()), F.gelu(x.bfloat16(), approximate="tanh"), atol=0, rtol=0)


def test_the_gelu_that_is_compiled_is_the_same_function_with_the_same_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    x = torch.linspace(-12, 12, 10_001, dtype=torch.float64, requires_grad=True)
    rewritten, reference = gelu_tanh(x), F.gelu(x, approximate="tanh")
    torch.testing.assert_close(rewritten, reference, atol=1e-14, rtol=0)
    gradients = [torch.autograd.grad(y.sum(), x)[0] for y in (rewritten, reference)]
    torch.testing.assert_close(*gradients, atol=1e-13, rtol=0)


@pytest.mark.parametrize("input_size", [32, 64])
def test_state_dict_has_the_released_names_and_shapes(input_size: int) -> None:
    """DiT-XL-2-256x256.pt and -512x512.pt."""
    d = 1152
    expected: dict[str, tuple[int, ...]] = {
        "pos_embed": (1, (input_size // 2) ** 2, d),
        "x_embedder.proj.weight": (d, 4, 2, 2),
        "x_embedder.proj.bias": (d,),
        "y_embedder.embedding_table.weight": (1001, d),
    }
    linears = {"t_embedder.mlp.0": (d, 256), "t_embedder.mlp.2": (d, d)}
    for n in range(28):
        linears |= {f"blocks.{n}.attn.qkv": (3 * d, d), f"blocks.{n}.attn.proj": (d, d)}
        linears |= {f"blocks.{n}.mlp.fc1": (4 * d, d), f"blocks.{n}.mlp.fc2": (d, 4 * d)}
        linears |= {f"blocks.{n}.adaLN_modulation.1": (6 * d, d)}
    linears |= {"final_layer.linear": (2 * 2 * 8, d), "final_layer.adaLN_modulation.1": (2 * d, d)}
    for name, shape in linears.items():
        expected |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    with torch.device("meta"):
        model = create_model("DiT-XL/2", input_size)
    assert {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} == expected


@pytest.mark.parametrize("row", TABLE4.to_dict("records"), ids=lambda row: row["variant"])
def test_size_and_cost_are_those_of_table_4(row: dict[str, float]) -> None:
    name = str(row["variant"])
    with torch.device("meta"):
        model = create_model(name)
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, 4, 32, 32), torch.empty(1), torch.empty(1, dtype=torch.int64))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert count_parameters(name) == parameters
    assert parameters / 1e6 == pytest.approx(row["params_m"], abs=1)
    assert 2e9 * count_gflops(name) == pytest.approx(counter.get_total_flops(), rel=1e-12)
    assert count_gflops(name) == pytest.approx(row["gflops"], abs=0.03)


def test_closed_forms_hold_for_other_latents_and_classes() -> None:
    variant = tiny(patch=1)
    with torch.device("meta"):
        model = create_model(variant, input_size=8, num_classes=10, in_channels=2)
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, 2, 8, 8), torch.empty(1), torch.empty(1, dtype=torch.int64))
    assert count_parameters(variant, 10, 2) == sum(parameter.numel() for parameter in model.parameters())
    assert 2e9 * count_gflops(variant, 8, 2) == pytest.approx(counter.get_total_flops(), rel=1e-12)


def test_an_untrained_model_predicts_zero_and_learns_at_once() -> None:
    model = create_model(tiny(2), input_size=8, num_classes=10)
    output = model(*batch(model))
    assert output.shape == (4, 8, 8, 8)
    assert not output.any()
    (output - 1).square().mean().backward()
    assert model.final_layer.linear.bias.grad.abs().min() > 0


def test_initial_weights_have_the_papers_scales() -> None:
    torch.manual_seed(0)
    model = create_model(Variant(size="Wide", patch=2, depth=1, hidden_size=384, num_heads=6))
    weights = dict(model.named_parameters())
    for name in ("y_embedder.embedding_table", "t_embedder.mlp.0", "t_embedder.mlp.2"):
        assert weights[f"{name}.weight"].std().item() == pytest.approx(0.02, rel=0.03), name
    fans = {"x_embedder.proj": 16 + 384, "blocks.0.attn.qkv": 4 * 384, "blocks.0.mlp.fc2": 5 * 384}
    for name, fan in fans.items():
        bound = (6 / fan) ** 0.5
        assert weights[f"{name}.weight"].abs().max().item() == pytest.approx(bound, rel=0.01), name
    for name, weight in weights.items():
        if name.endswith("bias") or "adaLN" in name or name.startswith("final_layer"):
            assert not weight.any(), name


def test_integer_and_float_timesteps_are_the_same() -> None:
    model = randomize(create_model(tiny(2), input_size=8, num_classes=10))
    x, t, y = batch(model)
    torch.testing.assert_close(model(x, t, y), model(x, t.double(), y), atol=0, rtol=0)


def test_samples_of_a_batch_do_not_see_each_other() -> None:
    model = randomize(create_model(tiny(2), input_size=8, num_classes=10))
    x, t, y = batch(model)
    torch.testing.assert_close(model(x, t, y)[2:3], model(x[2:3], t[2:3], y[2:3]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("variant", "reason"),
    [
        (tiny(3), "patches of 3"),
        (tiny(2, width=48, heads=5), "num_heads 5"),
        (tiny(2, width=18, heads=3), "divisible by 4"),
        ("DiT-XXL/2", "XXL"),
        ("XL/2", "SIZE/PATCH"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(variant: str | Variant, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        create_model(variant, input_size=32)


def test_latents_of_another_shape_are_refused() -> None:
    model = create_model(tiny(2), input_size=8, num_classes=10)
    with pytest.raises(ValueError, match=r"\(1, 4, 16, 4\).*\(N, 4, 8, 8\)"):
        model(torch.zeros(1, 4, 16, 4), torch.zeros(1), torch.zeros(1, dtype=torch.int64))
