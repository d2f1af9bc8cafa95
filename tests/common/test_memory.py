"""The memory that a process may use, from made-up trees of control groups."""

from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from dit_scaling.common import memory
from dit_scaling.common.memory import memory_limit

MACHINE = 64 * 2**30
V1 = "12:cpu,cpuacct:/job\n4:memory:/slurm/uid_0/job_7\n1:name=systemd:/\n"
V2 = "0::/system.slice/job_7.scope\n"


class Total:
    total = MACHINE


@pytest.mark.parametrize(
    ("groups", "files", "limit"),
    [
        (V2, {"system.slice/job_7.scope/memory.max": "4000000000"}, 4 * 10**9),
        (V2, {"system.slice/job_7.scope/memory.max": "max", "system.slice/memory.max": "5000000000"}, 5 * 10**9),
        (V2, {"system.slice/job_7.scope/memory.max": "max"}, MACHINE),
        ("0::/\n", {"memory.max": "6000000000"}, 6 * 10**9),
        ("0::/../outside\n", {"memory.max": "6000000000"}, 6 * 10**9),
        (V2, {"memory.max": "7000000000"}, 7 * 10**9),
        (V1, {"memory/slurm/uid_0/job_7/memory.limit_in_bytes": "8000000000"}, 8 * 10**9),
        (V1, {"memory/slurm/memory.limit_in_bytes": "9000000000"}, 9 * 10**9),
        (V1, {"memory/memory.limit_in_bytes": "9223372036854771712"}, MACHINE),
        ("", {}, MACHINE),
    ],
)
def test_the_smallest_limit_of_any_group_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str, files: Mapping[str, str], limit: int
) -> None:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text(groups)
    for name, text in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    monkeypatch.setattr(memory, "PROC", tmp_path / "proc")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path / "groups")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Total)
    assert memory_limit() == limit


def test_without_control_groups_it_is_the_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "PROC", tmp_path)
    assert memory_limit() == psutil.virtual_memory().total
