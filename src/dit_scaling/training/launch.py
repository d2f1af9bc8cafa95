"""Starting torchrun for one training job, and making sense of how it ended."""

import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import TypeAdapter

from dit_scaling.common.errors import UserError
from dit_scaling.config.stages import TrainSettings
from dit_scaling.latents.reader import LatentReader
from dit_scaling.training.loop import state_folder
from dit_scaling.training.runtime import Interrupted, Runtime, stop_noticed
from dit_scaling.training.state import StateFolder

WORKER = "dit_scaling.training.worker"
RANK_LINE = "rank "  # begins what our ranks say; the rest of the output is torchrun's
# Set by environment, as a torch that does not know one of them ignores it there.
TORCHRUN_SETTINGS = {
    # Seconds from SIGTERM to SIGKILL: the largest states take minutes to save.
    "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "600",
    "PET_SIGNALS_TO_HANDLE": "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1",
}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainJob:
    """The arguments of `train_to`, as every rank reads them from a file."""

    settings: TrainSettings
    manifest: Path
    last_step: int
    states: Path
    runtime: Runtime

    def write(self, path: Path) -> None:
        path.write_bytes(TypeAdapter(TrainJob).dump_json(self))

    @staticmethod
    def read(path: Path) -> "TrainJob":
        return TypeAdapter(TrainJob).validate_json(path.read_bytes())


def train_on_ranks(job: TrainJob, ranks: int, nodes: int = 1) -> StateFolder:
    """`train_to` on ``ranks`` processes of this machine, or of each of a SLURM job's ``nodes``, started by torchrun.

    Raises:
        UserError: what a rank raised, or that one died; or several nodes outside of SLURM.
        Interrupted: a signal asked this process or a rank to stop; the state is on disk.
    """
    job.states.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=job.states, prefix=".launch-") as name:
        job_file = Path(name, "job.json")
        job.write(job_file)
        status, interrupted, last_lines = run_launcher(torchrun_command(job_file, ranks, nodes), ranks, nodes)
        complaints = [path.read_text() for path in sorted(Path(name).glob("error-*"))]
        interrupted = interrupted or Path(name, "interrupted").exists()
    if complaints:
        raise UserError(complaints[0])
    if interrupted:
        raise Interrupted(143)
    folder = state_folder(job.settings, LatentReader(job.manifest, "train"), job.states)
    if status != 0:
        for line in last_lines:
            log.error("%s", line)
        raise UserError(
            f"{job.settings.variant.name}, seed {job.settings.seed}: a rank of {ranks * nodes} died on the way to step "
            f"{job.last_step} (torchrun's exit code {status}; what it said is above). Run the same command again; it "
            f"resumes from the newest state in {folder.path}."
        )
    return folder


def torchrun_command(job_file: Path, ranks: int, nodes: int = 1) -> list[str]:
    """The command that runs a job on ``ranks`` processes of this machine, or of each of the SLURM job's ``nodes``.

    On several nodes, srun starts one torchrun each, and these meet at the node that this process runs on.
    """
    if nodes > 1 and "SLURM_JOB_ID" not in os.environ:
        raise UserError(
            f"Training on {nodes} nodes needs a SLURM job, which starts torchrun on each of them, and this process is "
            "in none. Use  snakemake --profile slurm  or leave nodes out of train_milestone's resources."
        )
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={ranks}"]
    worker = ["-m", WORKER, str(job_file.resolve())]
    if nodes == 1:
        return [*torchrun, "--standalone", *worker]
    srun = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", "--kill-on-bad-exit=1"]
    # Snakemake's jobs hide from an inner srun what they asked for; their threads are the cores of a node.
    srun.append(f"--cpus-per-task={torch.get_num_threads()}")
    meeting = [f"--nnodes={nodes}", "--rdzv-backend=c10d", f"--rdzv-endpoint={socket.gethostname()}:{_free_port()}"]
    return [*srun, *torchrun, *meeting, f"--rdzv-id={job_file.parent.name}", *worker]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("", 0))
        return int(free.getsockname()[1])


def run_launcher(command: list[str], ranks: int, nodes: int) -> tuple[int, bool, deque[str]]:
    """Run torchrun to its end and log what the ranks say.

    Returns its exit code, whether it was asked to stop, and the last lines of what else it said.
    """
    threads = max(1, torch.get_num_threads() // ranks)
    others: deque[str] = deque(maxlen=100)
    with subprocess.Popen(
        command,
        env={**TORCHRUN_SETTINGS, **os.environ, "OMP_NUM_THREADS": str(threads)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # A terminal's signals reach this process alone, which passes them on once.
    ) as process:
        assert process.stdout is not None
        # torchrun passes both signals on to its ranks, which save their state within one step; srun only SIGUSR1.
        stop = signal.SIGTERM if nodes == 1 else signal.SIGUSR1
        told: list[int] = []

        def tell(number: int) -> None:
            if not told:
                process.send_signal(stop)
            elif number == signal.SIGINT:
                os.killpg(process.pid, signal.SIGKILL)
            told.append(number)

        with stop_noticed(tell) as received:
            for line in process.stdout:
                if line.startswith(RANK_LINE):
                    log.info("%s", line.rstrip())
                else:
                    others.append(line.rstrip())
        return process.wait(), bool(received), others
