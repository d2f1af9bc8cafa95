"""Processes that start at once, forked from a server that has imported torch; the ranks of a training job."""

import multiprocessing
import os
import socket
from contextlib import closing
from multiprocessing.process import BaseProcess
from pathlib import Path

from dit_scaling.training.launch import TrainJob

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["dit_scaling.training.worker"])


def start_ranks(job: TrainJob, folder: Path, count: int) -> list[BaseProcess]:
    """Start ``count`` ranks of a job whose file, and what the ranks leave beside it, goes to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    job.write(folder / "job.json")
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ranks = [CONTEXT.Process(target=_run, args=(folder / "job.json", rank, count, port)) for rank in range(count)]
    for rank in ranks:
        rank.start()
    return ranks


def run_ranks(job: TrainJob, folder: Path, count: int) -> list[int | None]:
    """Run a job on ``count`` ranks to its end; their exit codes."""
    ranks = start_ranks(job, folder, count)
    for rank in ranks:
        rank.join()
    return [rank.exitcode for rank in ranks]


def _run(job_file: Path, rank: int, count: int, port: int) -> None:
    from dit_scaling.training.worker import run

    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()}, MASTER_ADDR="127.0.0.1")
    run(job_file)
