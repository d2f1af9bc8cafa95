"""What a changed config would run again, from the digests of settings."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from dit_scaling.common.provenance import settings_digest
from dit_scaling.plan.jobs import Job
from dit_scaling.training.state_folders import exported_steps, find_state_folders, saved_steps


def changed_against_jobs(jobs: Sequence[Job], others: Sequence[Job]) -> list[Job]:
    """The jobs that another config's finished study would not spare; trainings resume from its last steps."""
    finished = {(job.stage, job.name, job.digest) for job in others}
    ends = defaultdict[str, set[int]](set)
    for job in others:
        ends[job.run].add(job.end)
    return _resumed([job for job in jobs if (job.stage, job.name, job.digest) not in finished], ends)


def changed_against_results(jobs: Sequence[Job], results: Path) -> list[Job]:
    """The jobs whose records in ``results`` are missing or of other settings, as the workflow itself judges them.

    So are those that made what one of these reads, where it was deleted since: weights, samples. Trainings resume from
    the states that are there.
    """
    makers = {file: job for job in jobs for file in job.makes}
    waiting = [job for job in jobs if any(settings_digest(results / record) != job.digest for record in job.records)]
    changed = set[Job]()
    while waiting:
        job = waiting.pop()
        changed.add(job)
        gone = (file for file in job.reads if file in makers and not (results / file).exists())
        waiting += {makers[file] for file in gone} - changed
    folders = find_state_folders(results)
    return _resumed(
        [job for job in jobs if job in changed],
        {run: set(saved_steps(folder)) for run, folder in folders.items()},
        {(run, step) for run, folder in folders.items() for step in exported_steps(folder)},
    )


def trained_in(jobs: Sequence[Job]) -> list[str]:
    """The variants that some jobs train, each once."""
    return list(dict.fromkeys(job.variant for job in jobs if job.stage == "train"))


def _resumed(
    jobs: Sequence[Job], states: Mapping[str, set[int]], exported: Collection[tuple[str, int]] = ()
) -> list[Job]:
    """Jobs whose trainings go on from the newest state there is, of those ``states`` of a run and of jobs before them.

    What is ``exported`` needs no training: runs, and steps of them.
    """
    reached = {run: set(steps) for run, steps in states.items()}
    resumed = []
    for job in jobs:
        if (job.run, job.end) in exported:
            resumed.append(job.resumed_from(job.end))
        elif job.end:
            steps = reached.setdefault(job.run, set())
            resumed.append(job.resumed_from(max((step for step in steps if step <= job.end), default=0)))
            steps.add(job.end)
        else:
            resumed.append(job)
    return resumed
