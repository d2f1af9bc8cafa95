"""What a changed config would run again, from the digests of settings."""

from collections.abc import Sequence
from pathlib import Path

from dit_scaling.common.provenance import settings_digest
from dit_scaling.plan.jobs import Job


def changed_against_jobs(jobs: Sequence[Job], others: Sequence[Job]) -> list[Job]:
    """The jobs that another config's finished study would not spare."""
    finished = {(job.stage, job.name, job.digest) for job in others}
    return [job for job in jobs if (job.stage, job.name, job.digest) not in finished]


def changed_against_results(jobs: Sequence[Job], results: Path) -> list[Job]:
    """The jobs whose records in ``results`` are missing or of other settings, as the workflow itself judges them."""
    return [job for job in jobs if any(settings_digest(results / record) != job.digest for record in job.records)]
