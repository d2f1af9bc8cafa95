"""How much memory this process may use: less than the machine's where a container or a cluster's job sets a limit."""

from collections.abc import Iterator
from pathlib import Path

import psutil

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def memory_limit() -> int:
    """Bytes: the machine's memory, or the smallest limit of the control groups (v1, v2) that this process is in.

    The page cache counts against such a limit.
    """
    return min([psutil.virtual_memory().total, *_limits()])


def _limits() -> Iterator[int]:
    """Limits of the groups, inner and outer ones."""
    try:
        lines = (PROC / "self" / "cgroup").read_text().splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers == "":
            root, file = CGROUPS, "memory.max"
        elif "memory" in controllers.split(","):
            root, file = CGROUPS / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = root / name.lstrip("/")
        # A container names groups that it does not see; what it sees as the root is its own.
        for folder in (group, *group.parents):
            if folder.is_relative_to(root):
                yield from _number(folder / file)


def _number(path: Path) -> Iterator[int]:
    """The number in a file; none where it is missing, or says max."""
    try:
        text = path.read_text().strip()
    except OSError:
        return
    if text.isdecimal():
        yield int(text)
