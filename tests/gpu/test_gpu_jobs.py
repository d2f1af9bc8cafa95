"""Jobs on the one GPU: two that want it, several that share it, and the whole chain."""

import json
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from dit_scaling.common.devices import choose_device
from forked import CONTEXT

pytestmark = pytest.mark.gpu


def compute(folder: str, jobs_per_gpu: int, pipe: Connection) -> None:
    """A job: claim the device, compute on it, tell the sum, and end when told to."""
    tempfile.tempdir = folder
    device = choose_device("cuda", jobs_per_gpu=jobs_per_gpu)
    pipe.send(torch.ones(1000, device=device).sum().item())
    pipe.recv()


@pytest.mark.usefixtures("cuda", "real")
@pytest.mark.parametrize("jobs_per_gpu", [1, 2])
def test_of_jobs_that_want_the_one_gpu_one_too_many_waits(tmp_path: Path, jobs_per_gpu: int) -> None:
    pipes, processes = [], []
    for _ in range(jobs_per_gpu + 1):
        here, there = CONTEXT.Pipe()
        pipes.append(here)
        processes.append(CONTEXT.Process(target=compute, args=(str(tmp_path), jobs_per_gpu, there)))
    for process in processes[:-1]:
        process.start()
    assert [pipe.recv() for pipe in pipes[:-1]] == [1000.0] * jobs_per_gpu
    processes[-1].start()
    assert not pipes[-1].poll(4)
    pipes[0].send("end")
    assert pipes[-1].recv() == 1000.0
    for pipe in pipes[1:]:
        pipe.send("end")
    for process in processes:
        process.join()


def test_the_whole_chain(finished_study: Path, device: torch.device) -> None:
    """The tiny study from images to report, its jobs side by side on the device."""
    results = finished_study / "results" / "tiny"
    table = pd.read_parquet(results / "metrics.parquet")
    distances = table.filter(regex=r"^fd_classifier\d+$")
    assert distances.shape == (8, 1)
    assert np.isfinite(distances).all(axis=None)
    records = [path for path in results.rglob("*provenance.json") if ".seals" not in path.parts]
    devices = [json.loads(path.read_text())["device"] for path in records]
    assert len(devices) > 20
    if device.type == "cuda":
        assert torch.cuda.get_device_name() in devices
    assert (results / "report.html").stat().st_size > 100_000
