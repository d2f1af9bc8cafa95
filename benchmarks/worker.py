"""One row in a process of its own: `python -m benchmarks.worker '{...}'` prints a JSON object as its last line.

The threads are set by the environment before anything is imported; the parent, `__main__.py`, does that.
"""

import argparse
import json
import multiprocessing
import resource
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.harness import measure
from benchmarks.registry import find
from benchmarks.row import DisagreementError, Setting, UnavailableError

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def work(name: str, side: str, rounds: int, quick: bool) -> dict[str, Any]:
    """Measure a row, or the peak memory in bytes of a process that runs one of its sides once."""
    row = find(name)
    with tempfile.TemporaryDirectory(prefix="dit-scaling-bench-") as folder:
        setting = Setting(quick, Path(folder))
        try:
            if side == "both":
                measured = measure(row, setting, rounds)
                return {
                    **asdict(measured),
                    **{key: getattr(measured, key) for key in ("ratio", "spread", "met")},
                }
            (row.make_ours if side == "ours" else row.make_peer)(setting).seconds()
        except UnavailableError as error:
            return {"unavailable": str(error)}
        except DisagreementError as error:
            return {"disagreement": str(error)}
    return {"memory": peak_resident()}


def peak_resident() -> int:
    """Peak resident memory in bytes: of this process with those that it has going, or of the largest that has ended."""
    going = sum(_peak_of(process.pid) for process in multiprocessing.active_children())
    ended = 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return max(_peak_of("self") + going, ended)


def _peak_of(process: int | str | None) -> int:
    """The kernel's VmHWM of a process, where there is one; the peak of getrusage begins with that of its parent."""
    status = Path("/proc", str(process), "status")
    lines = status.read_text().splitlines() if status.exists() else []
    own = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return 1024 * (own or [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss])[0]


def main() -> None:
    """Read the arguments and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--side", choices=("both", "ours", "peer"), default="both")
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    print(json.dumps(work(given.name, given.side, given.rounds, given.quick)))


if __name__ == "__main__":
    main()
