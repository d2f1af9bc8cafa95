"""A real SLURM of two nodes and four stand-in GPUs on this machine, from Debian's packages, for one test run."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("slurm-wlm", "munge")
ETC = Path("/etc/slurm/slurm.conf")
START_SECONDS = 30

SLURM_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort=17000
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobcomp.log
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
MinJobAge=3600
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
GresTypes=gpu
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdSpoolDir={folder}/spool-%n
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[17001-17002] CPUs=4 Boards=1 SocketsPerBoard=1 \
CoresPerSocket=4 ThreadsPerCore=1 RealMemory=8000 Gres=gpu:fake:2
PartitionName=gpus Nodes=n[1-2] Default=YES State=UP
"""


class NoClusterError(Exception):
    """Why there can be no cluster here."""


@dataclass(frozen=True)
class Cluster:
    """Where it keeps its record."""

    folder: Path

    def completed(self) -> list[dict[str, str]]:
        """Every job in SLURM's own record of completed jobs, as JobId, JobState, NodeList and so on."""
        return [_fields(line) for line in (self.folder / "jobcomp.log").read_text().splitlines()]

    def queue(self, columns: str) -> list[str]:
        """What `squeue --states=all` knows of all jobs, a line each."""
        return _output("squeue", "--states=all", "--noheader", "--format", columns).splitlines()

    def details(self) -> list[dict[str, str]]:
        """What `scontrol show job` says of all jobs."""
        return [_fields(line) for line in _output("scontrol", "--oneliner", "show", "job").splitlines()]


def _fields(line: str) -> dict[str, str]:
    return dict(word.split("=", 1) for word in line.split() if "=" in word)


@contextmanager
def two_node_cluster(folder: Path) -> Iterator[Cluster]:
    """Install what is missing, start munged, slurmctld and two slurmd, and stop those processes in the end.

    Raises:
        NoClusterError: not root, packages can't be installed, or another SLURM is configured on this machine.
    """
    _install()
    if ETC.exists() or ETC.is_symlink():
        raise NoClusterError(f"{ETC} exists: this machine belongs to another cluster")
    (folder / "state").mkdir()
    conf = folder / "slurm.conf"
    conf.write_text(SLURM_CONF.format(host=socket.gethostname().partition(".")[0], folder=folder))
    gpus = [folder / f"gpu{number}" for number in range(2)]
    for gpu in gpus:
        subprocess.run(["mknod", gpu, "c", "1", "3"], check=True)
    (folder / "gres.conf").write_text(f"NodeName=n[1-2] Name=gpu Type=fake File={folder}/gpu[0-1]\n")
    # The inner srun of a job is not told of SLURM_CONF.
    ETC.symlink_to(conf)
    with ExitStack() as running:
        running.callback(ETC.unlink)
        run = Path("/run/munge")
        run.mkdir(exist_ok=True)
        shutil.chown(run, "munge", "munge")
        running.enter_context(_daemon(folder, "runuser", "-u", "munge", "--", "munged", "--foreground"))
        _wait("munged", lambda: (run / "munge.socket.2").exists())
        running.enter_context(_daemon(folder, "slurmctld", "-D", "-c", "-f", str(conf)))
        for node in ("n1", "n2"):
            running.enter_context(_daemon(folder, "slurmd", "-D", "-N", node, "-f", str(conf)))
        _wait("two idle nodes", lambda: _output("sinfo", "-h", "-t", "idle", "-o", "%D").strip() == "2")
        running.callback(_cancel_all)
        yield Cluster(folder)


def _install() -> None:
    if os.getuid() != 0:
        raise NoClusterError("only root can install and start SLURM")
    if shutil.which("slurmctld") and shutil.which("munged"):
        return
    if not shutil.which("apt-get"):
        raise NoClusterError("no SLURM here, and no apt-get to install it")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *PACKAGES]):
        answer = subprocess.run(
            ["apt-get", "-qq", *command], env=environment, capture_output=True, text=True, check=False
        )
    if answer.returncode != 0:
        raise NoClusterError(f"apt-get cannot install {' '.join(PACKAGES)}: {answer.stderr.strip()[-200:]}")


@contextmanager
def _daemon(folder: Path, *command: str) -> Iterator[None]:
    with (folder / "daemons.log").open("ab") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield
        finally:
            process.terminate()


def _cancel_all() -> None:
    """Cancel what a failed test left behind, and wait: a node that stops first would leave it running."""
    subprocess.run(["scancel", "--user", "root"], check=False)
    _wait("an empty queue", lambda: not _output("squeue", "--noheader"))


def _wait(what: str, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {what} after {START_SECONDS} s")
        time.sleep(0.2)


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
