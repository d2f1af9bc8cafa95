"""One process at a time on a folder, and a lock that a killed process cannot leave behind for good.

`lock.json` names its holder: host, process id, and when that process started, since ids are used again. On the holder's
own host the process is looked for; from another host only the file's time counts, which the holder renews.
"""

import logging
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from pydantic import ValidationError

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import atomic_path
from dit_scaling.common.holder import Holder

HEARTBEAT_SECONDS = 20.0
POLL_SECONDS = 2.0

log = logging.getLogger(__name__)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for this process; a lock that its holder was killed with is taken over.

    Where the holder is on another host, waits for a heartbeat, or for so long without one that there is no holder.

    Raises:
        UserError: another process holds it, with that process' host and id.
    """
    lock, me = folder / "lock.json", Holder.here()
    _acquire(lock, me)
    stop = threading.Event()
    heart = threading.Thread(target=_beat, args=(lock, stop), daemon=True)
    heart.start()
    try:
        yield
    finally:
        stop.set()
        heart.join()
        with _guard(lock):
            if _read(lock) == me:
                lock.unlink()


def _acquire(lock: Path, me: Holder) -> None:
    lock.parent.mkdir(parents=True, exist_ok=True)
    seen = None
    while True:
        with _guard(lock):
            holder = _read(lock)
            if holder is None or not holder.lives(_age(lock)):
                with atomic_path(lock) as temporary:
                    temporary.write_text(me.model_dump_json())
                return
            beat = lock.stat().st_mtime_ns
        if holder.host == me.host or seen not in (None, beat):
            raise UserError(
                f"{lock.parent} is in use by process {holder.pid} on {holder.host}. Wait for it, or stop it; a lock "
                "that a killed process left is taken over."
            )
        if seen is None:
            log.info("%s: waits for a sign of life of process %d on %s", lock.parent, holder.pid, holder.host)
        seen = beat
        time.sleep(POLL_SECONDS)


def _guard(lock: Path) -> FileLock:
    """Makes reading, judging and replacing one step; else two processes could take over the same stale lock."""
    return FileLock(lock.with_name("lock.guard"))


def in_use(folder: Path) -> bool:
    """Whether a living process holds the folder."""
    holder = _read(folder / "lock.json")
    return holder is not None and holder.lives(_age(folder / "lock.json"))


def _read(lock: Path) -> Holder | None:
    """The holder; None where there is no lock, or one of which nothing can be read."""
    try:
        return Holder.model_validate_json(lock.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _age(lock: Path) -> float:
    """Seconds since the last heartbeat, by the clock of the file system, which may be another host's.

    Where nothing may be written, as for who only looks, by this host's clock.
    """
    try:
        with tempfile.TemporaryFile(dir=lock.parent) as now:
            written = os.fstat(now.fileno()).st_mtime
    except OSError:
        written = time.time()
    return written - lock.stat().st_mtime


def _beat(lock: Path, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_SECONDS):
        try:
            os.utime(lock)
        except OSError:
            continue  # A network file system may fail for a moment; the next beat comes soon.
