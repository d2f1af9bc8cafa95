"""A side of a row in a process of its own, with the threads and the environment that it is to have.

Both are read when a process starts: the threads by OpenMP and BLAS, the rest by glibc's allocator.
"""

import contextlib
import multiprocessing
import os
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

from benchmarks.registry import find
from benchmarks.row import DisagreementError, Outcome, Row, Setting, Side, UnavailableError
from dit_scaling.common.allocator import KEPT_MEMORY

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

Which = Literal["ours", "peer"]


@dataclass(frozen=True)
class Apart:
    """The other end of a side's process, which has made the side before it answers the first question."""

    pipe: Connection

    def ask(self, question: str) -> Any:
        """Put a question of `serve`.

        Raises:
            DisagreementError, UnavailableError: as the side does.
        """
        self.pipe.send(question)
        answer = self.pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def side(self) -> Side:
        """The side, as if it were here."""

        def seconds() -> float:
            taken: float = self.ask("seconds")
            return taken

        def outcome() -> Outcome:
            found: Outcome = self.ask("outcome")
            return found

        return Side(seconds, outcome)

    def peak_memory(self) -> int:
        """Peak resident memory so far, in bytes."""
        peak: int = self.ask("peak memory")
        return peak


@contextmanager
def apart(row: Row, which: Which, quick: bool) -> Iterator[Apart]:
    """Start the process of a side; it ends with the context.

    Ours has what the Snakefile gives its jobs. A package has what its users give it, which is nothing; a yardstick is
    another way of ours.
    """
    variables = dict.fromkeys(THREAD_VARIABLES, str(row.threads))
    if which == "ours" or row.yardstick:
        variables |= KEPT_MEMORY
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there, row.name, which, quick))
    with patch.dict(os.environ, variables):
        process.start()
    there.close()  # so that a process that dies ends the wait for its answer
    try:
        yield Apart(here)
    finally:
        here.close()
        process.join()


def serve(pipe: Connection, name: str, which: Which, quick: bool) -> None:
    """Answer until nobody asks: run the side once, tell its outcome, or the peak memory."""
    multiprocessing.set_start_method(None, force=True)  # as packages find it in a process that was not spawned
    row, side = find(name), None
    with tempfile.TemporaryDirectory(prefix="dit-scaling-bench-") as folder, contextlib.suppress(EOFError):
        while True:
            question = pipe.recv()
            try:
                side = side or (row.make_ours if which == "ours" else row.make_peer)(Setting(quick, Path(folder)))
                answers = {"seconds": side.seconds, "outcome": side.outcome, "peak memory": peak_resident}
                answer = answers[question]()
            except (DisagreementError, UnavailableError) as error:
                answer = error
            pipe.send(answer)


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
