"""Training on several ranks: the same draws, the same weights, and one decision on when to stop."""

import logging
import os
import random
import signal
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import Tensor

from dit_scaling.common.errors import UserError
from dit_scaling.config.stages import TrainSettings
from dit_scaling.latents.reader import LatentReader
from dit_scaling.training.batches import BatchSource
from dit_scaling.training.launch import TrainJob, run_launcher, train_on_ranks
from dit_scaling.training.loop import train_to
from dit_scaling.training.ranks import Ranks, torchrun_ranks
from dit_scaling.training.runtime import Interrupted, Runtime
from dit_scaling.variants import parse_variant
from forked import run_ranks, start_ranks
from pipeline import warm_python

CPU = torch.device("cpu")
STEPS = 50


@pytest.fixture
def job(toy_run: TrainSettings, toy_latents: Path, tmp_path: Path) -> TrainJob:
    return TrainJob(toy_run, toy_latents, STEPS, tmp_path / "states", Runtime(device=CPU))


def exported(states: Path, step: int) -> dict[str, Tensor]:
    """Raw and EMA weights of the one run below ``states``."""
    (folder,) = states.glob(f"*/step-{step}")
    return {
        f"{kind} {name}": tensor
        for kind in ("raw", "ema")
        for name, tensor in load_file(folder / f"{kind}.safetensors").items()
    }


def assert_identical(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def largest_difference(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    """Of any tensor but the biases of keys: norm of the difference over the norm.

    The loss does not depend on the keys' bias (softmax is blind to it), so its gradient is rounding alone, which AdamW
    blows up to full steps.
    """
    assert first.keys() == second.keys()
    pairs = {
        name: (without_key_bias(name, tensor), without_key_bias(name, second[name])) for name, tensor in first.items()
    }
    return max(float((one - other).norm() / one.norm().clamp(min=1e-12)) for one, other in pairs.values())


def without_key_bias(name: str, tensor: Tensor) -> Tensor:
    if not name.endswith("qkv.bias"):
        return tensor
    queries, _, values = tensor.chunk(3)
    return torch.cat([queries, values])


@pytest.mark.parametrize("count", [1, 2, 4])
def test_ranks_draw_their_rows_of_one_global_batch(toy_run: TrainSettings, toy_latents: Path, count: int) -> None:
    reader = LatentReader(toy_latents, "train")
    for step in (0, 5):
        whole = BatchSource(reader, toy_run, CPU).batch(step)
        shares = [Ranks(index, count).share(toy_run.recipe.batch_size) for index in range(count)]
        drawn = [BatchSource(reader, toy_run, CPU, share).batch(step) for share in shares]
        for name in ("x0", "t", "y", "noise"):
            assert torch.equal(torch.cat([getattr(batch, name) for batch in drawn]), getattr(whole, name))


def test_a_batch_that_ranks_cannot_share_is_refused() -> None:
    with pytest.raises(UserError, match=r"training\.batch_size: 8 is not divisible by 3 ranks"):
        Ranks(0, 3).share(8)


@pytest.fixture(scope="module")
def of_one(toy_run: TrainSettings, toy_latents: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """The weights after `STEPS` of one rank that takes each batch whole."""
    states = tmp_path_factory.mktemp("one-rank")
    train_to(toy_run, toy_latents, STEPS, states, Runtime(device=CPU))
    return exported(states, STEPS)


@pytest.mark.parametrize("micro_batch", [1, 3, 8])
def test_accumulated_gradients_are_those_of_the_whole_batch(
    job: TrainJob, of_one: dict[str, Tensor], micro_batch: int
) -> None:
    runtime = job.runtime.model_copy(update={"micro_batch": micro_batch})
    train_to(job.settings, job.manifest, STEPS, job.states, runtime)
    assert largest_difference(of_one, exported(job.states, STEPS)) < 1e-5


def test_two_ranks_end_at_the_weights_of_one(job: TrainJob, of_one: dict[str, Tensor], tmp_path: Path) -> None:
    two = replace(job, runtime=job.runtime.model_copy(update={"micro_batch": 2}))
    assert run_ranks(two, tmp_path / "job", 2) == [0, 0]
    assert largest_difference(of_one, exported(job.states, STEPS)) < 1e-5


@pytest.mark.slow
def test_torchrun_with_two_and_four_ranks_ends_at_the_weights_of_one(
    job: TrainJob, of_one: dict[str, Tensor], tmp_path: Path
) -> None:
    for count in (2, 4):
        states = tmp_path / str(count)
        train_on_ranks(replace(job, states=states), count)
        difference = largest_difference(of_one, exported(states, STEPS))
        assert 0 < difference < 1e-5
        assert not list(states.glob(".launch-*"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_launcher_saves_a_state_and_the_next_start_goes_on(
    job: TrainJob, caplog: pytest.LogCaptureFixture, number: signal.Signals
) -> None:
    caplog.set_level(logging.INFO)
    job = replace(job, last_step=20_000)

    def terminate() -> None:
        wait_for_the_first_record(job.states)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=terminate)
    thread.start()
    with pytest.raises(Interrupted) as caught:
        train_on_ranks(job, 2)
    thread.join()
    assert caught.value.code == 143
    (state,) = job.states.glob("*/state-*.safetensors")
    step = int(state.stem.removeprefix("state-"))
    assert f"SIGTERM, state saved at step {step}" in caplog.text
    train_on_ranks(replace(job, last_step=step + 10), 2)
    assert f"starts at step {step} of {step + 10} on 2 x cpu" in caplog.text


@pytest.mark.skipif(torch.__version__ < (2, 12), reason="torchrun does not know both settings yet")
def test_torchrun_leaves_ranks_minutes_to_save_their_state_and_passes_on_what_srun_does() -> None:
    read = "config, *_ = config_from_args(parse_args(['worker.py']))"
    show = "print(config.shutdown_timeout, config.signals_to_handle)"
    code = f"from torch.distributed.run import config_from_args, parse_args; {read}; {show}"
    status, _, said = run_launcher([str(warm_python().executable), "-c", code], ranks=1, nodes=1)
    assert status == 0
    timeout, signals = said[-1].split()
    assert int(timeout) >= 300
    assert {"SIGTERM", "SIGUSR1"} <= set(signals.split(","))


@pytest.mark.slow
def test_what_a_rank_complains_of_is_said_by_the_launcher(job: TrainJob) -> None:
    wild = job.settings.with_recipe(learning_rate=1e30, warmup_steps=0)
    with pytest.raises(UserError, match=r"DiT-Toy/2, seed 0.*step 50.*learning_rate"):
        train_on_ranks(replace(job, settings=wild), 2)


def test_a_rank_that_fails_does_not_wait_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ending a NCCL group waits for all ranks, of which one has failed and another may wait for it."""
    ended: list[str] = []
    monkeypatch.setattr(dist, "init_process_group", lambda _backend: None)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: ended.append("group"))
    monkeypatch.setattr(dist, "get_rank", lambda: 0)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    with pytest.raises(RuntimeError, match="out of memory"), torchrun_ranks("cpu"):
        raise RuntimeError("out of memory")
    assert ended == []
    with torchrun_ranks("cpu"):
        pass
    assert ended == ["group"]


def test_several_nodes_need_a_slurm_job(job: TrainJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(UserError, match=r"2 nodes needs a SLURM job.*train_milestone"):
        train_on_ranks(job, 1, nodes=2)


def test_a_run_in_use_is_refused_and_sigterm_on_one_rank_stops_all_at_the_same_step(
    job: TrainJob, tmp_path: Path
) -> None:
    job = replace(job, last_step=20_000)
    ranks = start_ranks(job, tmp_path / "job", 2)
    wait_for_the_first_record(job.states)
    with pytest.raises(UserError, match=f"in use by process {ranks[0].pid} on {socket.gethostname()}"):
        train_to(job.settings, job.manifest, STEPS, job.states, job.runtime)
    assert ranks[1].pid is not None
    os.kill(ranks[1].pid, signal.SIGTERM)
    for rank in ranks:
        rank.join()
    assert [rank.exitcode for rank in ranks] == [143, 143]
    assert (tmp_path / "job" / "interrupted").exists()
    (state,) = job.states.glob("*/state-*.safetensors")
    assert 0 < int(state.stem.removeprefix("state-")) < 20_000


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 4])
def test_ten_kills_change_no_bit(job: TrainJob, tmp_path: Path, count: int) -> None:
    """Of four ranks' gradients the sum depends on its order, and DDP orders anew after the first step of a process."""
    steps, rng = 100, random.Random(0)
    job = replace(job, last_step=steps)
    assert run_ranks(job, tmp_path / "job", count) == [0] * count
    killed = replace(job, states=tmp_path / "killed", runtime=job.runtime.model_copy(update={"save_steps": 2}))
    for least in sorted(rng.sample(range(steps - 20), 10)):
        ranks = start_ranks(killed, tmp_path / "job", count)
        while newest_step(killed.states) < least and all(rank.is_alive() for rank in ranks):
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.02))
        for rank in ranks:
            rank.kill()
        for rank in ranks:
            rank.join()
        assert [rank.exitcode for rank in ranks] == [-signal.SIGKILL] * count
    assert run_ranks(killed, tmp_path / "job", count) == [0] * count
    if count <= 2:
        assert_identical(exported(job.states, steps), exported(killed.states, steps))
    assert largest_difference(exported(job.states, steps), exported(killed.states, steps)) < 1e-5


def newest_step(states: Path) -> int:
    return max((int(path.stem.removeprefix("state-")) for path in states.glob("*/state-*.json")), default=-1)


def wait_for_the_first_record(states: Path) -> None:
    while not any(path.stat().st_size for path in states.glob("*/metrics.jsonl")):
        time.sleep(0.01)


@pytest.mark.slow
def test_a_paper_sized_model_is_saved_within_ten_seconds_of_sigterm(job: TrainJob, tmp_path: Path) -> None:
    """DiT-S: 33 million parameters, a state of 0.5 GB."""
    large = job.settings.model_copy(update={"variant": parse_variant("DiT-S/8")})
    job = replace(job, settings=large, last_step=20_000)
    (rank,) = start_ranks(job, tmp_path / "job", 1)
    wait_for_the_first_record(job.states)
    assert rank.pid is not None
    os.kill(rank.pid, signal.SIGTERM)
    begin = time.monotonic()
    rank.join()
    assert time.monotonic() - begin < 10
    assert rank.exitcode == 143
