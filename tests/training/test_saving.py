"""States are written beside training, and are as whole as if it had stood still: kills, signals and full disks."""

import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from dit_scaling.common.errors import DiskError
from dit_scaling.common.files import sha256_file
from dit_scaling.config.stages import TrainSettings
from dit_scaling.training import state
from dit_scaling.training.batches import Batch, BatchSource
from dit_scaling.training.loop import train_to
from dit_scaling.training.runtime import Interrupted, Runtime
from dit_scaling.training.state import StateFolder, TrainingState
from forked import CONTEXT

STEPS = 12
EVERY_FOUR = Runtime(device=torch.device("cpu"), save_steps=4)


def exported(folder: Path) -> dict[str, Tensor]:
    files = [next(folder.rglob(f"step-{STEPS}/{name}.safetensors")) for name in ("raw", "ema")]
    return {f"{file.stem} {key}": tensor for file in files for key, tensor in load_file(file).items()}


def assert_same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for key, tensor in first.items():
        assert torch.equal(tensor, second[key]), key


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, act: Callable[[], object]) -> None:
    """Do something when the batch of a step is drawn."""
    draw = BatchSource.batch

    def drawn(self: BatchSource, number: int) -> Batch:
        if number == step:
            act()
        return draw(self, number)

    monkeypatch.setattr(BatchSource, "batch", drawn)


def slow_writing(monkeypatch: pytest.MonkeyPatch, wait: Callable[[], object]) -> None:
    """Writing a state takes as long as ``wait``, and begins after it."""
    write = state.write_hashed

    def slow(tensors: Mapping[str, Tensor], path: Path) -> str:
        wait()
        return write(tensors, path)

    monkeypatch.setattr(state, "write_hashed", slow)


def test_training_goes_on_while_a_state_is_written_and_the_state_is_that_of_its_step(
    toy_run: TrainSettings, toy_latents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_to(toy_run, toy_latents, 4, tmp_path / "alone", EVERY_FOUR)
    drawn = threading.Event()
    in_time = list[bool]()
    at_step(monkeypatch, 7, drawn.set)
    slow_writing(monkeypatch, lambda: in_time.append(drawn.wait(20)))
    train_to(toy_run, toy_latents, 8, tmp_path / "beside", EVERY_FOUR)
    assert in_time == [True, True]
    alone, beside = (
        load_file(next((tmp_path / name).rglob("state-000000004.safetensors"))) for name in ("alone", "beside")
    )
    assert_same(alone, beside)


def test_one_state_is_written_at_a_time_and_in_order(
    toy_run: TrainSettings, toy_latents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, told = StateFolder.save, list[str]()

    def slow(self: StateFolder, written: TrainingState) -> None:
        told.append(f"begin {written.step}")
        time.sleep(0.05)
        save(self, written)
        told.append(f"end {written.step}")

    monkeypatch.setattr(StateFolder, "save", slow)
    train_to(toy_run, toy_latents, 3, tmp_path, Runtime(device=torch.device("cpu"), save_steps=1))
    assert told == [f"{what} {step}" for step in (1, 2, 3) for what in ("begin", "end")]


def train_and_die(run: TrainSettings, manifest: Path, states: Path, number: int) -> None:
    """Train, and die of SIGKILL with half of the ``number``-th state on disk."""
    written = list[int]()

    def torn(tensors: Mapping[str, Tensor], path: Path) -> str:
        written.append(1)
        if len(written) == number:
            path.write_bytes(bytes(1000))
            os.kill(os.getpid(), signal.SIGKILL)
        return write(tensors, path)

    write, state.write_hashed = state.write_hashed, torn
    train_to(run, manifest, STEPS, states, EVERY_FOUR)


@pytest.mark.parametrize(("number", "left"), [(1, []), (2, [4]), (3, [4, 8])])
def test_a_kill_while_a_state_is_written_costs_the_steps_since_the_one_before(
    toy_run: TrainSettings, toy_latents: Path, tmp_path: Path, number: int, left: list[int]
) -> None:
    train_to(toy_run, toy_latents, STEPS, tmp_path / "whole", EVERY_FOUR)
    process = CONTEXT.Process(target=train_and_die, args=(toy_run, toy_latents, tmp_path / "killed", number))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    names = [path.stem for path in sorted((tmp_path / "killed").rglob("state-*.json"))]
    assert names == [f"state-{step:09d}" for step in left]
    train_to(toy_run, toy_latents, STEPS, tmp_path / "killed", EVERY_FOUR)
    assert_same(exported(tmp_path / "whole"), exported(tmp_path / "killed"))
    assert not list((tmp_path / "killed").rglob(".tmp-*"))


def test_a_signal_to_stop_waits_until_the_state_is_written(
    toy_run: TrainSettings, toy_latents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_step(monkeypatch, 6, lambda: os.kill(os.getpid(), signal.SIGTERM))
    slow_writing(monkeypatch, lambda: time.sleep(0.3))
    with pytest.raises(Interrupted):
        train_to(toy_run, toy_latents, STEPS, tmp_path, EVERY_FOUR)
    assert [path.name for path in sorted(tmp_path.rglob("state-*.json"))] == [
        "state-000000004.json",
        "state-000000007.json",
    ]


@pytest.mark.parametrize("last_step", [4, STEPS])
def test_a_disk_that_is_full_beside_training_ends_it_with_a_message(
    toy_run: TrainSettings, toy_latents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last_step: int
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    slow_writing(monkeypatch, full)
    with pytest.raises(DiskError, match="No space left"):
        train_to(toy_run, toy_latents, last_step, tmp_path, EVERY_FOUR)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_state_is_a_safetensors_file_and_its_checksum_that_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "CHUNK", 1000)
    tensors = {
        "weights": torch.randn(1003),
        "window": torch.randn(4),
        "seconds": torch.tensor(3.5, dtype=torch.float64),
    }
    sha256 = state.write_hashed(tensors, tmp_path / "state.safetensors")
    assert sha256 == sha256_file(tmp_path / "state.safetensors")
    assert_same(tensors, load_file(tmp_path / "state.safetensors"))
