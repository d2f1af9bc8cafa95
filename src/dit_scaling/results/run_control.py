"""One run of a whole study: whose it is, what a killed one left, and how its jobs are told to stop."""

import contextlib
import signal
from pathlib import Path
from types import FrameType

import psutil
from pydantic import ValidationError

from dit_scaling.common.files import atomic_path
from dit_scaling.common.holder import Holder

RUNNER = Path(".cache") / "runner.json"


def note_runner(results: Path) -> None:
    """Record this process as the one that runs the study; call it while its locks are held."""
    with atomic_path(results / RUNNER) as temporary:
        temporary.write_text(Holder.here().model_dump_json())


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


def pass_on_stops(script: str) -> None:
    """Tell jobs of a script that never end soon to save and stop, when this process is told to end.

    What it did on SIGTERM so far it does still, and on SIGHUP too, unless that is ignored.
    """
    previous = signal.getsignal(signal.SIGTERM)

    def tell(number: int, frame: FrameType | None) -> None:
        if callable(previous):
            previous(number, frame)
        for job in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if job.cmdline()[-1:] and job.cmdline()[-1].endswith(script) and "python" in job.name():
                    job.send_signal(signal.SIGTERM)

    signal.signal(signal.SIGTERM, tell)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, tell)
