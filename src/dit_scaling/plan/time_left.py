"""The time that is left of a study: the plan's model, corrected by what the jobs so far took."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from dit_scaling.config.stages import Stages
from dit_scaling.config.study import Study
from dit_scaling.plan.jobs import Job, list_jobs
from dit_scaling.plan.price import Devices, computes_on_cpu, devices_as_measured

CPU = Devices(
    name="CPU core",
    count=1,
    rate=5e10,
    sampling_rate=5e10,
    float32_rate=5e10,
    memory=None,
    source="an order of magnitude, which the first job corrects",
    overhead=1e-3,
)
START = 3.0
"""Seconds that a job takes before it computes anything."""


@dataclass(frozen=True)
class Work:
    """A job that is to run, by the name of its rule and the files that it writes, below the study's results."""

    rule: str
    files: tuple[str, ...]


@dataclass
class TimeLeft:
    """Expects of a job what the plan says, times what jobs of its rule took so far over what was expected of them.

    Where none of its rule is done, the ratio of all jobs that are done counts. A job that the plan does not price is
    expected to take as long as others of its rule did.
    """

    priced: dict[str, float]
    """Seconds by the plan, by the file that a job writes."""
    took: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    expected: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def done(self, work: Work, seconds: float) -> None:
        """Learn from a job that took so long."""
        self.took[work.rule].append(seconds)
        self.expected[work.rule].append(self._plan(work))

    def seconds(self, left: Iterable[tuple[Work, float]], at_once: float) -> float | None:
        """Until all is done; None as long as no job is.

        Args:
            left: jobs that are not done, with the seconds that each has run for so far.
            at_once: how many jobs run at a time.
        """
        if not self.took:
            return None
        alone = [max(0.0, self._corrected(work) - so_far) for work, so_far in left]
        return max([sum(alone) / max(1.0, at_once), *alone])

    def _plan(self, work: Work) -> float:
        return START + sum(self.priced.get(file, 0.0) for file in work.files)

    def _corrected(self, work: Work) -> float:
        rules = [work.rule] if work.rule in self.took else [*self.took]
        took, expected = (sum(sum(of[rule]) for rule in rules) for of in (self.took, self.expected))
        return self._plan(work) * took / expected


def price_files(jobs: Sequence[Job], devices: Devices) -> dict[str, float]:
    """Seconds by the plan of the Snakemake job that writes each record of a plan's job."""
    return {
        record: (devices.seconds(job) + job.core_seconds / job.cores) / job.parts
        for job in jobs
        for record in job.records
    }


def price_study(study: Study, stages: Stages, images: int) -> TimeLeft:
    """The plan of a study, before anything of it is done."""
    devices = CPU if computes_on_cpu(study) else devices_as_measured("a100", 1, study)
    return TimeLeft(price_files(list_jobs(study, stages, images), devices))
