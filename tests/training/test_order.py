"""Each epoch visits every sample once, however it is shuffled."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dit_scaling.common.errors import UserError
from dit_scaling.config.stages import TrainSettings
from dit_scaling.latents.reader import LatentReader
from dit_scaling.training import order
from dit_scaling.training.batches import BatchSource
from dit_scaling.training.order import EpochOrder

CPU = torch.device("cpu")


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    batch=st.integers(1, 17),
    seed=st.integers(0, 1000),
    group=st.none() | st.integers(1, 7),
)
def test_each_epoch_visits_every_sample_once(counts: list[int], batch: int, seed: int, group: int | None) -> None:
    order, count = EpochOrder(counts, seed, group), sum(counts)
    steps = -(-3 * count // batch)
    visits = np.concatenate([order.indices(step, batch) for step in range(steps)])[: 3 * count]
    for epoch in visits.reshape(3, count):
        assert sorted(epoch) == list(range(count))


@pytest.mark.parametrize("group", [None, 2])
def test_epochs_are_shuffled_differently_and_by_seed(group: int | None) -> None:
    counts = [20] * 5
    first, second = (EpochOrder(counts, 0, group).indices(step, 100) for step in (0, 1))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, EpochOrder(counts, 1, group).indices(0, 100))


@pytest.mark.parametrize("group", [None, 2])
def test_the_batch_of_a_step_does_not_depend_on_the_steps_before_it(group: int | None) -> None:
    walked = EpochOrder([4, 3, 3], 3, group)
    for step in range(7):
        indices = walked.indices(step, 4)
    assert np.array_equal(indices, EpochOrder([4, 3, 3], 3, group).indices(6, 4))


def test_a_shuffle_among_shards_mixes_those_and_touches_no_others() -> None:
    order = EpochOrder([10] * 6, 0, 2)
    epoch = order.indices(0, 60)
    for samples in epoch.reshape(3, 20):
        shards = samples // 10
        assert len(set(shards)) == 2
        assert np.count_nonzero(np.diff(shards)) > 1
    # A global shuffle draws its first third from everywhere.
    assert len(set(EpochOrder([10] * 6, 0).indices(0, 20) // 10)) == 6


def test_the_shards_needed_next_are_known_ahead() -> None:
    order = EpochOrder([10] * 6, 0, 2)
    epoch = order.indices(0, 60) // 10
    for step in range(12):
        ahead = order.shards_ahead(step, 5)
        group = 5 * step // 20
        assert set(ahead) == set(epoch[20 * group : 20 * (group + 2)])
    assert EpochOrder([10] * 6, 0).shards_ahead(0, 5) == []


def test_a_shuffle_larger_than_the_machines_memory_is_refused_with_the_figures(
    toy_run: TrainSettings, toy_latents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = [24 * 10**9]
    monkeypatch.setattr(order, "memory_limit", lambda: limit[0])
    counts, sizes = [10] * 47, [10**9] * 47
    EpochOrder(counts, 0, 12).check_memory(sizes)
    with pytest.raises(UserError, match=r"training\.shuffle_shards: 13.*26\.0 GB.*24\.0 GB"):
        EpochOrder(counts, 0, 13).check_memory(sizes)
    with pytest.raises(UserError, match=r"training\.shuffle_shards: null.*47\.0 GB.*24\.0 GB"):
        EpochOrder(counts, 0).check_memory(sizes)

    limit[0] = sum(path.stat().st_size for path in toy_latents.parent.glob("*.tar"))
    reader = LatentReader(toy_latents, "train")
    BatchSource(reader, toy_run, CPU)
    limit[0] -= 1
    with pytest.raises(UserError, match="of memory"):
        BatchSource(reader, toy_run, CPU)


def test_shards_are_read_ahead_while_training_draws(
    toy_run: TrainSettings, toy_latents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = LatentReader(toy_latents, "train")
    asked: list[list[int]] = []
    read_ahead = reader.read_ahead
    monkeypatch.setattr(reader, "read_ahead", lambda shards: (asked.append(shards), read_ahead(shards)))
    source = BatchSource(reader, toy_run.with_recipe(shuffle_shards=1), CPU)
    for step in range(3):  # an epoch of 24 samples in two shards
        source.batch(step)
    assert len(asked) == 2
    assert sorted(asked[0]) == [0, 1]
    assert asked[1] == asked[0][1:]
