"""What a changed config would run again, from the digests of settings."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dit_scaling.common.files import read_json
from dit_scaling.common.provenance import settings_digest
from dit_scaling.plan.jobs import Job


def changed_against_jobs(jobs: Sequence[Job], others: Sequence[Job]) -> list[Job]:
    """The jobs that another config's finished study would not spare; trainings resume from its last steps."""
    finished = {(job.stage, job.name, job.digest) for job in others}
    ends = defaultdict[str, set[int]](set)
    for job in others:
        ends[job.run].add(job.end)
    changed = [job for job in jobs if (job.stage, job.name, job.digest) not in finished]
    return [_rest(job, ends[job.run]) for job in changed]


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
    """Steps whose records in the job's run have the settings of its training."""
    (record,) = job.records
    if job.measures:  # all steps of the run have one record
        settings = read_json(results / record)["settings"] if (results / record).is_file() else {}
        yield from settings["steps"] if settings.get("training") == job.run else ()
        return
    for path in (results / record).parents[1].glob("step-*/provenance.json"):
        step = path.parent.name.removeprefix("step-")
        if step.isdecimal() and settings_digest(path) == job.run:
            yield int(step)
