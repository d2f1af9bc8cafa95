"""Two processes never work on one state folder, and a killed one does not keep it."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
import pytest

from dit_scaling.common.errors import UserError
from dit_scaling.common.holder import STALE_SECONDS
from dit_scaling.training import lock
from dit_scaling.training.lock import in_use, locked
from forked import CONTEXT


def hold(folder: Path) -> None:
    with locked(folder):
        time.sleep(60)


def start_holder(folder: Path) -> BaseProcess:
    process = CONTEXT.Process(target=hold, args=(folder,))
    process.start()
    while not (folder / "lock.json").exists():
        assert process.is_alive()
        time.sleep(0.01)
    return process


def foreign(folder: Path, seconds_ago: float) -> None:
    """A lock of another host whose last heartbeat is that old."""
    folder.mkdir()
    path = folder / "lock.json"
    path.write_text(json.dumps({"host": "node-7", "pid": 4242, "started": 0.0}))
    then = time.time() - seconds_ago
    os.utime(path, (then, then))


def test_the_second_process_is_refused_with_host_and_pid_of_the_first_until_that_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start_holder(folder)
    with pytest.raises(UserError, match=rf"in use by process {process.pid} on {socket.gethostname()}"), locked(folder):
        pass
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert (folder / "lock.json").exists()
    with locked(folder):
        assert json.loads((folder / "lock.json").read_text())["pid"] == os.getpid()
    assert not (folder / "lock.json").exists()


def test_the_same_process_is_refused_twice(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(UserError, match="in use"), locked(tmp_path):
        pass


def test_a_process_id_used_again_is_not_its_holder(tmp_path: Path) -> None:
    record = {"host": socket.gethostname(), "pid": os.getpid(), "started": 1.0}
    (tmp_path / "lock.json").write_text(json.dumps(record))
    with locked(tmp_path):
        assert json.loads((tmp_path / "lock.json").read_text())["started"] > 1.0


def test_a_killed_process_that_nobody_waited_for_holds_nothing(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        started = psutil.Process(process.pid).create_time()
        record = {"host": socket.gethostname(), "pid": process.pid, "started": started}
        (tmp_path / "lock.json").write_text(json.dumps(record))
        assert in_use(tmp_path)
        process.kill()
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        assert not in_use(tmp_path)


def test_a_lock_of_another_host_counts_when_its_heart_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "POLL_SECONDS", 0.01)
    foreign(tmp_path / "run", STALE_SECONDS / 2)
    stop = threading.Event()
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.1)
    heart = threading.Thread(target=lock._beat, args=(tmp_path / "run" / "lock.json", stop))
    heart.start()
    with pytest.raises(UserError, match="process 4242 on node-7"), locked(tmp_path / "run"):
        pass
    stop.set()
    heart.join()


def test_a_lock_of_another_host_is_taken_over_when_its_heart_has_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign(tmp_path / "still", STALE_SECONDS * 2)
    with locked(tmp_path / "still"):
        pass
    # Killed a moment ago, as by a failing node: its successor waits until it is sure.
    monkeypatch.setattr(lock, "POLL_SECONDS", 0.01)
    foreign(tmp_path / "recent", STALE_SECONDS - 0.3)
    begin = time.monotonic()
    with locked(tmp_path / "recent"):
        assert time.monotonic() - begin > 0.1


def test_the_holder_renews_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.01)
    with locked(tmp_path):
        os.utime(tmp_path / "lock.json", (0, 0))
        deadline = time.monotonic() + 10
        while (tmp_path / "lock.json").stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (tmp_path / "lock.json").stat().st_mtime > 0


def test_an_unreadable_lock_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "lock.json").write_text("{")
    with locked(tmp_path):
        pass
