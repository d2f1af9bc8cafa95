"""Processes that start at once, forked from a server that has imported torch and Snakemake."""

import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from multiprocessing.process import BaseProcess
from pathlib import Path

from dit_scaling.training.launch import TrainJob

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "dit_scaling.training.worker",
        "snakemake.cli",
        "snakemake_executor_plugin_slurm",
        # what rules/common.smk imports
        "jsonschema",
        "dit_scaling.config",
        "dit_scaling.data.assets",
        "dit_scaling.report.captions",
    ]
)


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


def run_snakemake(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], startup: Path
) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in ``folder`` as from the command line, after the file ``startup``.

    It takes a quarter of the time that a new Python takes to import everything.
    """
    with tempfile.TemporaryDirectory() as scratch:
        files = [Path(scratch, name) for name in ("stdout", "stderr")]
        process = CONTEXT.Process(target=_snakemake, args=(arguments, folder, dict(environment), startup, files))
        process.start()
        process.join()
        output, errors = (file.read_text() for file in files)
    return subprocess.CompletedProcess(["snakemake", *arguments], process.exitcode or 0, output, errors)


def _snakemake(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], startup: Path, files: Sequence[Path]
) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, file in zip((0, 1, 2), (Path(os.devnull), *files), strict=True):
        opened = os.open(file, os.O_RDWR | os.O_CREAT)
        os.dup2(opened, descriptor)
        os.close(opened)
    runpy.run_path(str(startup))
    sys.argv = ["snakemake", *arguments]
    from snakemake.cli import main

    main(list(arguments))
