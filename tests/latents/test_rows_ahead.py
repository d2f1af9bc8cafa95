"""Rows are read ahead of the steps that need them, once, by as many threads as a slow disk can serve."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dit_scaling.config.stages import TrainSettings
from dit_scaling.latents.reader import LatentReader
from dit_scaling.latents.rows_ahead import STEPS_AHEAD, rows_ahead
from dit_scaling.training.loop import train_to
from dit_scaling.training.runtime import Runtime

STEPS, BATCH = 20, 50


class SlowDisk:
    """A row takes a millisecond to read where it was not read before; `late` are rows that a step waited for."""

    def __init__(self) -> None:
        self.read = set[int]()
        self.reads = list[int]()
        self.late = list[int]()

    def moments(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        for index in indices.tolist():
            if index not in self.read:
                time.sleep(1e-3)
                (self.late if threading.current_thread() is threading.main_thread() else self.reads).append(index)
                self.read.add(index)
        return indices


def in_order(step: int) -> NDArray[np.int64]:
    return np.arange(step * BATCH, (step + 1) * BATCH)


def test_a_disk_of_a_millisecond_a_read_costs_no_step() -> None:
    disk, started = SlowDisk(), time.monotonic()
    with rows_ahead(range(STEPS), in_order, disk.moments, STEPS * BATCH) as ready:
        for step in ready:
            disk.moments(in_order(step))
            time.sleep(10e-3)  # the step's own arithmetic
    assert disk.late == []
    assert sorted(disk.reads) == list(range(STEPS * BATCH))
    assert time.monotonic() - started < 0.6 * STEPS * BATCH * 1e-3


def test_rows_are_read_once_and_only_a_few_steps_ahead() -> None:
    disk = SlowDisk()
    with rows_ahead(range(100, 140), lambda step: in_order(step % 20), disk.moments, 20 * BATCH) as ready:
        assert [next(ready), next(ready)] == [100, 101]
    assert len(disk.reads) <= (STEPS_AHEAD + 2) * BATCH
    with rows_ahead(range(40), lambda step: in_order(step % 20), (again := SlowDisk()).moments, 20 * BATCH) as ready:
        assert list(ready) == list(range(40))
    assert len(again.reads) == 20 * BATCH


def test_what_goes_wrong_while_reading_ends_the_step_that_needs_it() -> None:
    def fail(_: NDArray[np.int64]) -> None:
        raise OSError("the disk")

    with rows_ahead(range(3), in_order, fail, 3 * BATCH) as ready, pytest.raises(OSError, match="the disk"):
        next(ready)


@pytest.mark.parametrize("shuffle_shards", [None, 1])
def test_training_reads_each_row_ahead_once_where_rows_are_read_one_by_one(
    toy_run: TrainSettings,
    toy_latents: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shuffle_shards: int | None,
) -> None:
    moments, ahead = LatentReader.moments, list[int]()

    def counted(self: LatentReader, indices: NDArray[np.int64]) -> NDArray[np.float16]:
        if threading.current_thread() is not threading.main_thread():
            ahead.extend(indices.tolist())
        return moments(self, indices)

    monkeypatch.setattr(LatentReader, "moments", counted)
    run = toy_run.with_recipe(shuffle_shards=shuffle_shards)
    train_to(run, toy_latents, 7, tmp_path, Runtime(device=torch.device("cpu")))
    assert sorted(ahead) == ([] if shuffle_shards else list(range(24)))
