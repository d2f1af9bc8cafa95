"""Draws, flat weights, EMA and states, each against a closed form or an independent implementation."""

import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from dit_scaling.config.recipe import Recipe
from dit_scaling.diffusion.process import PAPER_PROCESS, create_diffusion
from dit_scaling.models import Network, create_model
from dit_scaling.training.batches import Batch, seed_for
from dit_scaling.training.ema import ema_decay_at, update_ema
from dit_scaling.training.flat import FlatParameters
from dit_scaling.training.state import StateFolder, TrainingState, publish
from dit_scaling.training.step import TrainingStep
from dit_scaling.variants import Size, parse_variant

DIFFUSION = create_diffusion(PAPER_PROCESS)


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


def tiny_dit() -> Network:
    torch.manual_seed(0)
    return create_model(parse_variant("DiT-Toy/4", {"Toy": Size(depth=1, hidden_size=16, num_heads=2)}), 8, 3, 2)


def small_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.SiLU(), nn.Linear(5, 2))


def draw(step: int, count: int = 4) -> Batch:
    rng = torch.Generator().manual_seed(step)
    x0, noise = torch.randn((2, count, 2, 8, 8), generator=rng)
    return Batch(x0, torch.randint(1000, (count,), generator=rng), torch.arange(count) % 3, noise)


@pytest.mark.parametrize("part", [0, 1])
def test_steps_equal_those_of_plain_pytorch(part: int) -> None:
    recipe = Recipe(
        learning_rate=1e-2, weight_decay=0.1, warmup_steps=3, gradient_clip=0.42, ema_decay=0.9, ema_ramp=True
    )
    plain, trained = tiny_dit(), tiny_dit()
    optimiser = torch.optim.AdamW(plain.parameters(), 1.0, recipe.betas, weight_decay=recipe.weight_decay)
    average = [parameter.detach().clone() for parameter in plain.parameters()]
    step, norms = TrainingStep(trained, recipe, DIFFUSION), list[float]()
    for number in range(8):
        batch = draw(number)
        losses = DIFFUSION.training_losses(plain, batch.x0, batch.t, batch.y, batch.noise)
        optimiser.zero_grad()
        torch.autograd.backward(losses["loss"].mean())
        norm = torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.42)
        optimiser.param_groups[0]["lr"] = recipe.learning_rate * min(1.0, (number + 1) / 3)
        optimiser.step()
        decay = min(0.9, (2 + number) / (11 + number))
        average = [decay * kept + (1 - decay) * p.detach() for kept, p in zip(average, plain.parameters(), strict=True)]
        norms.append(norm.item())
        told = step(number, batch.split(part))
        expected = [losses[name].mean() for name in ("loss", "mse", "vb")]
        torch.testing.assert_close(told, torch.stack([*expected, norm]).detach(), rtol=1e-4, atol=1e-5)
    assert min(norms) < 0.42 < max(norms)
    for name, kept in zip(dict(plain.named_parameters()), average, strict=True):
        if name.endswith("qkv.bias"):  # softmax is blind to the keys' third of it, so its gradient is rounding alone
            continue
        torch.testing.assert_close(step.named(step.weights)[name], plain.get_parameter(name).data, rtol=0, atol=1e-4)
        torch.testing.assert_close(step.named(step.ema)[name], kept, rtol=0, atol=1e-4)


def test_a_step_that_starts_again_from_its_tensors_goes_on_as_before() -> None:
    recipe = Recipe(learning_rate=1e-2)
    whole, first, second = (TrainingStep(tiny_dit(), recipe, DIFFUSION) for _ in range(3))
    for number in range(6):
        whole(number, [draw(number)])
        if number < 3:
            first(number, [draw(number)])
    for name, tensor in second.tensors.items():
        tensor.copy_(first.tensors[name])
    second.start_at(3)
    for number in range(3, 6):
        second(number, [draw(number)])
    assert all(torch.equal(tensor, second.tensors[name]) for name, tensor in whole.tensors.items())


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
    return TrainingState(step, {"weights": torch.arange(4.0) + step, "ema": torch.arange(4.0)}, f"log to {step}\n")


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
    assert loaded.log == "log to 20\n"
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


def test_states_of_an_earlier_stop_stay_beside_those_of_a_later_one(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path, "abc", {})
    folder.start()
    for step in (390, 400, 10, 20, 30):
        folder.save(state(step))
    assert sorted(path.stem for path in folder.path.glob("state-*.safetensors")) == [
        f"state-{step:09d}" for step in (20, 30, 390, 400)
    ]
    earlier = folder.load(100)
    assert earlier is not None
    assert earlier.step == 30


def test_what_a_killed_save_left_behind_goes_with_the_next_start(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path, "abc", {})
    folder.start()
    folder.save(state(10))
    before = {path for path in folder.path.rglob("*") if path.is_file()}
    halves = [".tmp-ab12-state-000000020.safetensors", "state-000000020.safetensors", "step-20/.tmp-c-raw.safetensors"]
    for name in halves:
        (folder.path / name).parent.mkdir(exist_ok=True)
        (folder.path / name).write_text("half")
    folder.start()
    assert {path for path in folder.path.rglob("*") if path.is_file()} == before


def test_a_published_file_outlives_the_deletion_of_its_copy(tmp_path: Path) -> None:
    source, target = tmp_path / "kept", tmp_path / "out" / "declared"
    source.write_text("weights")
    publish(source, target)
    target.unlink()
    publish(source, target)
    assert target.read_text() == source.read_text() == "weights"
