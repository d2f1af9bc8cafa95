"""Jobs side by side get devices of their own; the devices are made up, the locks and processes are real."""

import os
import tempfile
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from dit_scaling.common import cuda_probe, devices
from dit_scaling.common.cuda_probe import Card, Probe
from dit_scaling.common.devices import choose_device, matrix_products
from dit_scaling.common.errors import UserError
from forked import CONTEXT


def count_visible(number: int) -> int:
    """As torch counts by NVML: of so many devices those that CUDA_VISIBLE_DEVICES names."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return number if chosen is None else len(chosen.split(","))


def all_compute(count: int, _folder: Path) -> Probe:
    """As if each device had computed."""
    return Probe((Card("made up", ""),) * count, "580.1", "")


def job(
    folder: str,
    environment: dict[str, str],
    number: int,
    count: int,
    jobs_per_gpu: int,
    found: Probe | None,
    pipe: Connection,
) -> None:
    """What a job does: choose, tell what is visible to it, and compute until it is told to end."""
    tempfile.tempdir = folder
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    os.environ.update(environment)
    torch.cuda.device_count = lambda: count_visible(number)  # type: ignore[assignment]
    devices.RETRY_SECONDS = 0.01
    devices.probe = all_compute if found is None else lambda *_: found
    device = choose_device("auto", count, jobs_per_gpu)
    pipe.send((str(device), os.environ.get("CUDA_VISIBLE_DEVICES")))
    pipe.recv()


class Jobs:
    """Starts jobs that share a folder of locks on a machine of so many devices."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.processes: list[BaseProcess] = []
        self._pipes: list[Connection] = []  # a job whose pipe is gone ends

    def start(
        self,
        number: int,
        count: int = 1,
        environment: dict[str, str] | None = None,
        jobs_per_gpu: int = 1,
        found: Probe | None = None,
    ) -> Connection:
        here, there = CONTEXT.Pipe()
        arguments = (str(self._folder), environment or {}, number, count, jobs_per_gpu, found, there)
        process = CONTEXT.Process(target=job, args=arguments)
        process.start()
        self.processes.append(process)
        self._pipes.append(here)
        return here


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    started = Jobs(tmp_path)
    yield started
    for process in started.processes:
        process.kill()
        process.join()


def test_jobs_side_by_side_get_devices_of_their_own(jobs: Jobs) -> None:
    answers = [pipe.recv() for pipe in [jobs.start(4) for _ in range(4)]]
    assert {device for device, _ in answers} == {"cuda"}
    assert sorted(visible for _, visible in answers) == ["0", "1", "2", "3"]


def test_a_job_waits_for_a_device_until_another_job_ends_or_is_killed(jobs: Jobs) -> None:
    assert jobs.start(1).recv() == ("cuda", "0")
    second = jobs.start(1)
    assert not second.poll(0.5)
    jobs.processes[0].kill()
    assert second.recv() == ("cuda", "0")


def test_a_job_of_two_ranks_gets_two_devices_at_once(jobs: Jobs) -> None:
    first = jobs.start(3, count=2)
    assert first.recv() == ("cuda", "0,1")
    second = jobs.start(3, count=2)
    assert jobs.start(3).recv() == ("cuda", "2")
    assert not second.poll(0.3)
    first.send("end")
    assert second.recv() == ("cuda", "0,1")


def test_jobs_that_may_share_devices_take_the_emptiest(jobs: Jobs) -> None:
    answers = [jobs.start(2, jobs_per_gpu=2).recv() for _ in range(4)]
    assert [visible for _, visible in answers] == ["0", "1", "0", "1"]
    fifth = jobs.start(2, jobs_per_gpu=2)
    assert not fifth.poll(0.5)
    jobs.processes[1].kill()
    assert fifth.recv() == ("cuda", "1")


def test_ranks_of_a_job_that_shares_devices_each_get_their_own(jobs: Jobs) -> None:
    assert jobs.start(2, count=2, jobs_per_gpu=2).recv() == ("cuda", "0,1")
    assert jobs.start(2, count=2, jobs_per_gpu=2).recv() == ("cuda", "0,1")


def test_only_the_devices_that_the_user_left_visible_are_claimed(jobs: Jobs) -> None:
    restricted = {"CUDA_VISIBLE_DEVICES": "2,3"}
    assert jobs.start(2, environment=restricted).recv() == ("cuda", "2")
    assert jobs.start(2, environment=restricted).recv() == ("cuda", "3")


def test_a_scheduler_has_given_out_the_devices_already(jobs: Jobs) -> None:
    given = {"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "0"}
    assert [jobs.start(1, environment=given).recv() for _ in range(2)] == [("cuda", "0")] * 2


def test_jobs_in_one_allocation_get_devices_of_their_own_whatever_others_hold(jobs: Jobs) -> None:
    """Each allocation, and each step of one, has its devices numbered from 0."""
    here, step, there = ({"SLURM_JOB_ID": "7"}, {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "1"}, {"PBS_JOBID": "7.host"})
    answers = [jobs.start(8, environment=environment).recv() for environment in (here, step, there, here, here)]
    assert [visible for _, visible in answers] == ["0", "0", "0", "1", "2"]


def test_convolutions_are_float32_once_a_device_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(devices, "probe", all_compute)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    assert choose_device("cuda") == torch.device("cuda")
    assert not torch.backends.cudnn.allow_tf32


def test_without_devices_auto_is_the_cpu_and_cuda_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert choose_device("auto") == torch.device("cpu")
    assert choose_device("cpu", 2) == torch.device("cpu")
    with pytest.raises(UserError, match=r"resources\.device is cuda"):
        choose_device("cuda")


def test_a_driver_whose_devices_torch_does_not_see_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As where torch is built without CUDA, or a container hides the driver's monitor and the driver is too old."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(cuda_probe, "told_by_the_driver", lambda: [("NVIDIA A100 of compute capability 8.0", "535.1")])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert choose_device("auto") == torch.device("cpu")
    with pytest.raises(UserError) as refused:
        choose_device("cuda")
    for told in (caplog.text, str(refused.value)):
        assert "sees no CUDA device, though driver 535.1 is there for NVIDIA A100 of compute capability 8.0" in told
        assert "built for CUDA" in told
    caplog.clear()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert choose_device("auto") == torch.device("cpu")
    assert choose_device("cpu") == torch.device("cpu")
    assert not caplog.text


def test_more_ranks_than_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(devices, "probe", all_compute)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(UserError, match=r"gpus_per_node: 2 ranks.*sees 1"):
        choose_device("auto", 2)


def test_devices_that_cannot_be_chosen_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without NVML torch counts by starting CUDA, which then no longer looks at CUDA_VISIBLE_DEVICES."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.setattr(devices, "probe", all_compute)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(devices, "claimed", [])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3,4,5,6,7")
    for variable in devices.SCHEDULERS:
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(UserError, match="NVML"):
        choose_device("auto")


OLD = Card(
    "NVIDIA GeForce GTX 1080 of compute capability 6.1", "no kernel image is available for execution on the device"
)


@pytest.mark.parametrize("environment", [{}, {"SLURM_JOB_ID": "7"}])
def test_only_devices_that_compute_are_taken(jobs: Jobs, environment: dict[str, str]) -> None:
    """The first of two cards is too old for this torch."""
    one_old = Probe((OLD, Card("NVIDIA A100", "")), "580.1", "")
    assert jobs.start(2, environment=environment, found=one_old).recv() == ("cuda", "1")


def test_where_no_device_computes_auto_is_the_cpu_and_cuda_is_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    needs = "torch 2.15.0 is built for CUDA 13.2: it needs NVIDIA's driver 580 or newer."
    monkeypatch.setattr(devices, "probe", lambda *_: Probe((OLD,), "535.183.01", needs))
    assert choose_device("auto") == torch.device("cpu")
    with pytest.raises(UserError) as refused:
        choose_device("cuda")
    for told in (caplog.text, str(refused.value)):
        for words in (
            "GTX 1080 of compute capability 6.1: no kernel image",
            "driver 535.183.01",
            needs,
            "docs/imagenet.md",
        ):
            assert words in told
    assert "This job computes on the CPU" in caplog.text


@pytest.mark.parametrize(("precision", "allowed"), [("float32", False), ("tf32", True), ("bfloat16", False)])
def test_tf32_is_for_products_and_convolutions_alike(precision: str, allowed: bool) -> None:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    with matrix_products(precision):
        assert torch.backends.cuda.matmul.allow_tf32 is allowed
        assert torch.backends.cudnn.allow_tf32 is allowed
    assert before == (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
