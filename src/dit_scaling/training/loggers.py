"""TensorBoard and Weights & Biases beside a job, each in a process of its own that may fail or hang.

The pipe to it is the queue: the kernel bounds it, writing never waits, and what does not fit is dropped and counted. A
record is shorter than the 4,096 bytes that a pipe takes whole or not at all.
"""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dit_scaling.config.stages import TrainSettings

WRITER = "dit_scaling.training.log_writer"
CLOSE_SECONDS = 20.0
"""That a job waits at its end for all loggers together."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoggedRun:
    """What a logger knows of a run; equal runs that are resumed have equal ids."""

    study: str
    name: str
    id: str
    folder: str
    """Where loggers keep their files."""
    first_step: int | None
    """Of the training that is told of; None where a gate tells of the run, maybe while it trains."""
    settings: Mapping[str, Any]

    @property
    def teller(self) -> str:
        """The job that tells."""
        return "gate" if self.first_step is None else "training"


def run_of(settings: TrainSettings, results: Path, first_step: int | None) -> LoggedRun:
    """The run of these settings, whose loggers' files lie in a study's ``results``; resumed, it has the same id."""
    results = results.resolve()
    return LoggedRun(
        study=results.name,
        name=f"{settings.variant.slug}_seed-{settings.seed}_{settings.digest[:8]}",
        id=settings.digest,
        folder=str(results / "loggers"),
        first_step=first_step,
        settings=settings.stored(),
    )


@dataclass(frozen=True)
class Shown:
    """What is told of a run once, at a step."""

    step: int
    values: Mapping[str, float]
    texts: Mapping[str, str]
    pictures: Mapping[str, str]
    """Files beside the record of this, by what they show."""


class LogProcess:
    """One logger; no method raises, and none waits but `close`."""

    def __init__(self, name: str, run: LoggedRun) -> None:
        """Start the logger ``name`` of `log_writer.WRITERS`."""
        self._name, self._teller, self._dropped, self._ended = name, run.teller, 0, False
        self._said = Path(run.folder, f"{run.name}{'-gate' if run.teller == 'gate' else ''}-{name}.log")
        self._said.parent.mkdir(parents=True, exist_ok=True)
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-m", WRITER, name],
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
                start_new_session=True,  # What asks the job to stop leaves it the time to finish.
            )
        assert self._process.stdin is not None
        self._pipe = self._process.stdin.fileno()
        self._write(asdict(run))  # may be longer than a line: the pipe is empty yet
        os.set_blocking(self._pipe, False)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Hand over the values of one step, or drop them where the logger is behind or gone."""
        self._write({"step": step, "values": values})

    def show(self, record: Path) -> None:
        """Hand over a file of `Shown`, or drop it as a step."""
        self._write({"show": str(record.resolve())})

    def _write(self, told: Mapping[str, Any]) -> None:
        try:
            os.write(self._pipe, json.dumps(told).encode() + b"\n")
        except BlockingIOError:
            if not self._dropped:
                log.warning("%s does not keep up: what it has no room for is dropped", self._name)
            self._dropped += 1
        except OSError:  # the process has ended
            self._dropped += 1
            self._tell_end()

    def close(self, until: float) -> None:
        """Let the logger finish, at most until this time of `time.monotonic`, then end it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            code = self._process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            log.warning("%s was not done after %.0f s and was ended; see %s", self._name, CLOSE_SECONDS, self._said)
        else:
            if code != 0:
                self._tell_end()
        if self._dropped:
            kept = "; metrics.jsonl has all" if self._teller == "training" else ""
            log.warning("%s: %d records were dropped%s", self._name, self._dropped, kept)

    def _tell_end(self) -> None:
        if not self._ended:
            self._ended = True
            lines = self._said.read_text(errors="replace").split("\n")
            last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
            log.warning("%s has failed, %s goes on without it: %s (%s)", self._name, self._teller, last, self._said)


@contextmanager
def logged(names: Sequence[str], run: LoggedRun) -> Iterator[list[LogProcess]]:
    """The loggers of a run, for as long as the job lasts; one that cannot be started is left out with a warning."""
    started: list[LogProcess] = []
    for name in names:
        try:
            started.append(LogProcess(name, run))
        except OSError as error:
            log.warning("%s cannot be started, %s goes on without it: %s", name, run.teller, error)
    try:
        yield started
    finally:
        until = time.monotonic() + CLOSE_SECONDS
        for process in started:
            process.close(until)
