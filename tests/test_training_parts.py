"""Draws, flat weights, EMA and states, each against a closed form or an independent implementation."""

import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from dit_scaling.training.draws import seed_for
from dit_scaling.training.ema import ema_decay_at, update_ema
from dit_scaling.training.flat import FlatParameters
from dit_scaling.training.state import StateFolder, TrainingState, publish


def test_seeds_of_different_draws_differ() -> None:
    names = [("train", 0, 1), ("train", 1, 0), ("train", 0, 11), ("train", 0, 1, 0), ("sample", 0, 1)]
    assert len({seed_for(*name) for name in names}) == len(names)
    assert all(0 <= seed_for(*name) < 2**63 for name in names)


@pytest.mark.parametrize("decay", [0.9, 0.999])
def test_ema_of_a_constant_and_of_a_ramp(decay: float) -> None:
    """EMA of w_n = n from 0 is n - d/(1-d) (1 - d^n): the solution of a_n = d a_(n-1) + (1-d) n."""
    constant, ramp = torch.ones(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    steps = 500
    for step in range(1, steps + 1):
        update_ema(constant, torch.ones(3, dtype=torch.float64), decay)
        update_ema(ramp, torch.full((3,), float(step), dtype=torch.float64), decay)
    torch.testing.assert_close(constant, torch.ones(3, dtype=torch.float64))
    expected = steps - decay / (1 - decay) * (1 - decay**steps)
    torch.testing.assert_close(ramp, torch.full((3,), expected, dtype=torch.float64))


def test_ema_ramp_starts_low_and_ends_at_the_decay() -> None:
    assert ema_decay_at(1, 0.9999, ramp=True) == pytest.approx(2 / 11)
    assert ema_decay_at(10**6, 0.9999, ramp=True) == 0.9999
    assert ema_decay_at(1, 0.9999, ramp=False) == 0.9999


def small_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.SiLU(), nn.Linear(5, 2))


def test_one_flat_adamw_equals_one_per_parameter() -> None:
    plain, flattened = small_model(), small_model()
    flat = FlatParameters(flattened)
    reference = torch.optim.AdamW(plain.parameters(), 0.01, weight_decay=0.1)
    optimiser = torch.optim.AdamW([flat.weights], 0.01, weight_decay=0.1, fused=True)
    for step in range(20):
        x = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
        for model, chosen in ((plain, reference), (flattened, optimiser)):
            chosen.zero_grad(set_to_none=False)
            model(x).square().sum().backward()
            chosen.step()
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(flat.named(flat.weights.data)[name], parameter.data, rtol=1e-6, atol=1e-7)


def test_flat_weights_are_the_models_own() -> None:
    model = small_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    flat = FlatParameters(model)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    with torch.no_grad():
        flat.weights.zero_()
    assert all(not parameter.any() for parameter in model.parameters())


def state(step: int) -> TrainingState:
    return TrainingState(step, {"weights": torch.arange(4.0) + step, "ema": torch.arange(4.0)})


def test_the_newest_state_not_beyond_the_target_is_used(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path, "abc", {})
    folder.start()
    assert folder.load(100) is None
    for step in (10, 20):
        folder.save(state(step))
    loaded = folder.load(100)
    assert loaded is not None
    assert loaded.step == 20
    assert torch.equal(loaded.tensors["weights"], torch.arange(4.0) + 20)
    earlier = folder.load(15)
    assert earlier is not None
    assert earlier.step == 10


@pytest.mark.parametrize("damage", ["truncate", "alter", "remove", "tear the checksum"])
def test_a_damaged_state_is_passed_over_with_a_warning(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = StateFolder(tmp_path, "abc", {})
    folder.start()
    for step in (10, 20):
        folder.save(state(step))
    newest = folder.path / "state-000000020.safetensors"
    content = bytearray(newest.read_bytes())
    if damage == "truncate":
        newest.write_bytes(content[:-3])
    elif damage == "alter":
        content[-1] ^= 1
        newest.write_bytes(content)
    elif damage == "remove":
        newest.unlink()
    else:
        newest.with_suffix(".json").write_text('{"sha25')
    with caplog.at_level(logging.WARNING):
        loaded = folder.load(100)
    assert loaded is not None
    assert loaded.step == 10
    assert "state-000000020" in caplog.text


def test_only_two_states_are_kept(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path, "abc", {})
    folder.start()
    for step in (10, 20, 30):
        folder.save(state(step))
    assert sorted(path.name for path in folder.path.glob("state-*.safetensors")) == [
        "state-000000020.safetensors",
        "state-000000030.safetensors",
    ]


def test_a_published_file_outlives_the_deletion_of_its_copy(tmp_path: Path) -> None:
    source, target = tmp_path / "kept", tmp_path / "out" / "declared"
    source.write_text("weights")
    publish(source, target)
    target.unlink()
    publish(source, target)
    assert target.read_text() == source.read_text() == "weights"
