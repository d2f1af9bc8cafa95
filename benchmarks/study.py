"""What Snakemake costs beside the stages' own work, from the records of a finished embedded study.

Every job of the study leaves its seconds in `times/`, in a file that is written when the job ends, so each job's begin
is known too. A job waits for Snakemake from the last end of another job before its begin: until then the cores were
taken, or what it needs was not there yet. All these waits together, beside the seconds of all jobs, are the overhead.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmarks.row import Row, Setting, Side, UnavailableError, at_least, nothing_in_common

RESULTS = Path("results", "embedded")
OVERHEAD = 0.15


@dataclass(frozen=True)
class Job:
    """A job's time, in seconds since the epoch."""

    begin: float
    end: float


def read_jobs(results: Path = RESULTS) -> list[Job]:
    """The jobs of a finished study.

    Raises:
        UnavailableError: the study has not been run to its end here.
    """
    if not (results / "report.html").exists():
        raise UnavailableError(f"{results} is not finished; run `make study` from nothing first")
    jobs = []
    for path in sorted((results / "times").rglob("*.tsv")):
        end = path.stat().st_mtime
        jobs.append(Job(end - float(pd.read_csv(path, sep="\t")["s"].iloc[0]), end))
    return jobs


def waits(jobs: Sequence[Job]) -> float:
    """Seconds that jobs waited for Snakemake, all together; the first job's wait is not known."""
    found = 0.0
    for job in jobs:
        earlier = [other.end for other in jobs if other.end <= job.begin]
        found += job.begin - max(earlier, default=job.begin)
    return found


def work(jobs: Sequence[Job]) -> float:
    """Seconds of all jobs."""
    return sum(job.end - job.begin for job in jobs)


def with_waits(_setting: Setting) -> Side:
    """The study as it was run."""
    jobs = read_jobs()
    return Side(lambda: work(jobs) + waits(jobs), dict)


def without_waits(_setting: Setting) -> Side:
    """Its stages alone."""
    jobs = read_jobs()
    return Side(lambda: work(jobs), dict)


ROWS = (
    Row(
        name="study-snakemake",
        what=f"the embedded study's jobs and their waits for Snakemake; at most {OVERHEAD:.0%} more",
        peer="the seconds of the jobs alone, as they were recorded",
        make_ours=with_waits,
        make_peer=without_waits,
        agree=nothing_in_common,
        target=at_least(1 / (1 + OVERHEAD)),
        threads=1,
    ),
)
