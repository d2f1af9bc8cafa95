"""What a changed config would run again, from the digests of settings."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dit_scaling.common.provenance import settings_digest
from dit_scaling.plan.jobs import Job


def changed_against_jobs(jobs: Sequence[Job], others: Sequence[Job]) -> list[Job]:
    """The jobs that another config's finished study would not spare; trainings resume from its last steps."""
    finished = {(job.stage, job.name, job.digest) for job in others}
    ends = defaultdict[str, set[int]](set)
    for job in others:
        ends[job.digest].add(job.end)
    changed = [job for job in jobs if (job.stage, job.name, job.digest) not in finished]
    return [_rest(job, ends[job.digest]) for job in changed]


def changed_against_results(jobs: Sequence[Job], results: Path) -> list[Job]:
    """The jobs whose records in ``results`` are missing or of other settings, as the workflow itself judges them.

    Trainings resume from the steps of the same settings that are there.
    """
    changed = [job for job in jobs if any(settings_digest(results / record) != job.digest for record in job.records)]
    return [_rest(job, _steps_in(results, job)) if job.end else job for job in changed]


def _rest(job: Job, ends: Iterable[int]) -> Job:
    """A training but for the steps up to the last end that it can resume from."""
    return job.resumed_from(max([end for end in ends if end <= job.end], default=0)) if job.end else job


def _steps_in(results: Path, job: Job) -> Iterator[int]:
    """Steps whose records in the job's run have its settings."""
    run = (results / job.records[0]).parents[1]
    for record in run.glob("step-*/provenance.json"):
        step = record.parent.name.removeprefix("step-")
        if step.isdecimal() and settings_digest(record) == job.digest:
            yield int(step)
