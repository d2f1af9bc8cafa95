"""What a run of the pipeline tells at the terminal: a line a job, the time left, and runs that a gate found broken.

Snakemake's own words, each job's inputs and outputs among them, go to its log file, and with --verbose to the terminal.
"""

import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import Any, TextIO

from dit_scaling.common.colour import coloured
from dit_scaling.common.progress import describe_seconds
from dit_scaling.common.stage_words import RULES
from dit_scaling.plan.time_left import TimeLeft, Work
from dit_scaling.results.gate_findings import BROKEN, read_gate

HANDLER = "DefaultStreamHandler"
"""The name of the handler through which Snakemake writes to the terminal."""
OF_JOBS = {
    "JOB_INFO",
    "JOB_STARTED",
    "JOB_FINISHED",
    "PROGRESS",
    "SHELLCMD",
    "GROUP_INFO",
    "RESOURCES_INFO",
    "RUN_INFO",
}
OF_SNAKEMAKE = ("Building DAG", "Using shell", "Conda environments", "Select jobs", "Execute ", "Workflow has started")


def be_quiet(logger: logging.Logger) -> None:
    """Keep what Snakemake says of each job, and of itself, from the terminal; warnings and errors stay.

    Jobs inherit the variable that is set: their own lines go to their logs alone.
    """
    os.environ["DIT_SCALING_QUIET"] = "1"
    for handler in logger.handlers:
        if handler.name == HANDLER:
            handler.addFilter(_is_for_people)


def respect_no_color(logger: logging.Logger) -> None:
    """Have Snakemake's own handler know NO_COLOR, which it does not read."""
    for handler in logger.handlers:
        if handler.name == HANDLER and os.environ.get("NO_COLOR"):
            handler.nocolor = True  # type: ignore[attr-defined]


def _is_for_people(record: logging.LogRecord) -> bool:
    if record.levelno > logging.INFO:
        return True
    return _event(record) not in OF_JOBS and not str(record.msg).startswith(OF_SNAKEMAKE)


def _event(record: logging.LogRecord) -> str:
    return str(getattr(getattr(record, "event", None), "name", ""))


class RunLines(logging.Handler):
    """Tells a run as it happens.

    Args:
        results: folder of the study's results.
        todo: the jobs that are to run, by Snakemake's number.
        time_left: what is expected of them.
        tells_jobs: whether a job has its line; runs that are broken are told in any case.
        after_job: called with the rule of each job that is done.
        stream: where to.
    """

    def __init__(
        self,
        results: Path,
        todo: Mapping[int, Work],
        time_left: TimeLeft,
        tells_jobs: bool,
        after_job: Callable[[str], None] = lambda _: None,
        stream: TextIO = sys.stderr,
    ) -> None:
        super().__init__()
        self._results, self._left, self._time_left = results, dict(todo), time_left
        self._tells_jobs, self._after_job, self._stream = tells_jobs, after_job, stream
        self._total, self._done = len(todo), 0
        self._started: dict[int, tuple[float, str]] = {}
        self._busy = 0.0
        self._begin = time.time()
        self._rules = _rules_of_stages({work.rule for work in todo.values()})

    def emit(self, record: logging.LogRecord) -> None:
        """Tell of a job that is done; what fails here must not fail the run."""
        facts = record.__dict__
        try:
            match _event(record):
                case "JOB_INFO":
                    self._started[facts["jobid"]] = record.created, _name(facts["wildcards"])
                case "JOB_FINISHED" if facts["job_id"] in self._left:
                    self._finish(facts["job_id"], record.created)
        except Exception:
            self.handleError(record)

    def _finish(self, job: int, now: float) -> None:
        work = self._left.pop(job)
        began, name = self._started.pop(job, (now, ""))
        self._done += 1
        self._busy += now - began
        self._time_left.done(work, now - began)
        if self._tells_jobs:
            self._stream.write(f"{self._line(work, name, now - began, now)}\n")
        if work.rule == "gate":
            self._warn_if_broken(work)
        self._stream.flush()
        self._after_job(work.rule)

    def _line(self, work: Work, name: str, seconds: float, now: float) -> str:
        place, stage, rules = next(
            (place, stage, rules) for place, (stage, rules) in enumerate(self._rules.items(), 1) if work.rule in rules
        )
        number = f"stage {place} of {len(self._rules)}"
        what = f"{stage} {name}" if len(rules) < 2 else f"{stage} ({work.rule}) {name}"
        done = f"{self._done:>{len(str(self._total))}} of {self._total}"
        return f"{done}  {number}: {what.rstrip()}  {describe_seconds(seconds)}{self._describe_left(now)}"

    def _describe_left(self, now: float) -> str:
        left = [(work, now - self._started.get(job, (now, ""))[0]) for job, work in self._left.items()]
        seconds = self._time_left.seconds(left, self._busy / max(1.0, now - self._begin)) if left else None
        return f"  about {describe_seconds(seconds)} left" if seconds is not None else ""

    def _warn_if_broken(self, work: Work) -> None:
        found = read_gate(self._results / work.files[0])
        if found and found.status == BROKEN:
            self._stream.write(f"{coloured(found.warning, 'red', self._stream)}\n")


def _rules_of_stages(wanted: Set[str]) -> dict[str, list[str]]:
    """The stages that have one of the rules, in the order of the data, each with those of its own; the unknown last."""
    known = {stage: [rule for rule in rules if rule in wanted] for stage, rules in RULES.items()}
    others = {rule: [rule] for rule in sorted(wanted - {rule for rules in known.values() for rule in rules})}
    return {stage: rules for stage, rules in known.items() if rules} | others


def _name(wildcards: Mapping[str, Any] | None) -> str:
    """Wildcards as people say them: DiT-Mini-1 seed 0 step 10000."""
    plain = {"variant", "extractor", "split", "apart"}
    said = {key: str(value).strip("/") for key, value in (wildcards or {}).items() if value != ""}
    return " ".join(value if key in plain else f"{key} {value}" for key, value in said.items())
