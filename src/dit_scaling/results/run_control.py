"""One run of a whole study: whose it is, what a killed one left, and how its jobs are told to stop."""

import contextlib
import math
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import FrameType

import psutil
from pydantic import ValidationError

from dit_scaling.common.files import atomic_path
from dit_scaling.common.holder import Holder
from dit_scaling.results.job_records import read_records

RUNNER = Path(".cache") / "runner.json"
SLURM_SECONDS = 60  # that its answer may take


def note_runner(results: Path) -> None:
    """Record this process as the one that runs the study; call it while its locks are held."""
    with atomic_path(results / RUNNER) as temporary:
        temporary.write_text(Holder.here().model_dump_json())


def is_running(results: Path) -> bool:
    """Whether a Snakemake on this host, or a job on any, works on the study, as far as can be told."""
    with contextlib.suppress(OSError, ValidationError):
        if Holder.model_validate_json((results / RUNNER).read_bytes()).lives(math.inf):
            return True
    return any(job.lives(time.time()) for job in read_records(results))


def drop_stale_locks(results: Path, locks: Path) -> Holder | None:
    """Delete the locks that the last runner of a study holds, if it was on this host and its process is gone.

    Args:
        results: the study's folder.
        locks: folder of files *.lock that each list, one a line, the files they are for.

    Returns:
        the runner whose locks were deleted; None where there were none.
    """
    record = results / RUNNER
    try:
        runner = Holder.model_validate_json(record.read_bytes())
        noted = record.stat().st_mtime_ns
    except (OSError, ValidationError):
        return None
    if runner.host != Holder.here().host or runner.lives(0.0):
        return None
    stale = [path for path in locks.glob("*.lock") if _is_about(path, results) and path.stat().st_mtime_ns <= noted]
    with contextlib.suppress(OSError):
        for path in stale:
            path.unlink()
        return runner if stale else None
    return None


def _is_about(lock: Path, results: Path) -> bool:
    """Whether a lock names a file below ``results``."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return any(Path(line).is_relative_to(results) for line in lock.read_text().splitlines())
    return False


def pass_on_stops(rule: str) -> None:
    """Tell jobs of a rule, which never end soon, to save and stop when this process is told to end.

    What it did on SIGTERM so far it does still, and on SIGHUP too, unless that is ignored.

    Args:
        rule: its jobs in SLURM's queue, submitted from this folder, are told by SLURM; those on this machine are
            processes below this one that run the script of its name.
    """
    previous = signal.getsignal(signal.SIGTERM)

    def tell(number: int, frame: FrameType | None) -> None:
        if callable(previous):
            previous(number, frame)
        for job in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if job.cmdline()[-1:] and job.cmdline()[-1].endswith(f"{rule}.py") and "python" in job.name():
                    job.send_signal(signal.SIGTERM)
        stop_queued(rule, Path.cwd())

    signal.signal(signal.SIGTERM, tell)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, tell)


def stop_queued(rule: str, folder: Path) -> None:
    """Send SIGTERM to SLURM's jobs of a rule that were submitted from a folder, and cancel those that still wait."""
    if shutil.which("squeue") is None:
        return
    ask = ["squeue", "--noheader", f"--user={os.getuid()}", "--states=RUNNING,PENDING", "--format=%i|%T|%Z|%k"]
    told: dict[str, list[str]] = {"RUNNING": [], "PENDING": []}
    with contextlib.suppress(subprocess.SubprocessError):
        listed = subprocess.run(ask, capture_output=True, text=True, check=True, timeout=SLURM_SECONDS).stdout
        for line in listed.splitlines():
            number, state, place, comment = line.split("|", 3)
            # Snakemake's comment: rule_NAME, then _wildcards_ and what they are.
            if Path(place) == folder and comment.partition("_wildcards_")[0] == f"rule_{rule}":
                told[state].append(number)
        for state, words in (("PENDING", []), ("RUNNING", ["--signal=TERM"])):
            if told[state]:
                subprocess.run(["scancel", *words, *told[state]], check=True, timeout=SLURM_SECONDS)
