"""From arithmetic to hours, on devices that are stated or measured."""

from collections.abc import Sequence
from dataclasses import dataclass

from dit_scaling.common.errors import UserError
from dit_scaling.config.study import Study
from dit_scaling.plan.jobs import Job
from dit_scaling.plan.peaks import PEAKS

PRESETS = {"a100-40gb": ("A100", 40), "a100-80gb": ("A100", 80), "h100-80gb": ("H100", 80), "h200": ("H200", 141)}
"""Device -> its name in ``peaks.PEAKS``, and its memory in GB."""

STAGES = ("VAE", "latents", "reference", "training", "sampling", "features", "scoring")


@dataclass(frozen=True)
class Devices:
    """What the study runs on: so many devices, each at a rate in operations per second (a multiply-add is two)."""

    name: str
    count: int
    rate: float
    """In training."""
    sampling_rate: float
    """In sampling, and in all that decodes and encodes images."""
    float32_rate: float
    """In what jobs compute in float32 always."""
    memory: float | None
    """Bytes of each; None where unknown."""
    source: str
    """Where the rates come from."""
    overhead: float = 0.0
    """Seconds that one pass of a network over a batch costs beside its arithmetic."""

    def seconds(self, job: Job) -> float:
        """Of one device, were it to do the job alone."""
        rate = self.rate if job.stage == "training" else self.sampling_rate
        seconds = 2 * (job.multiply_adds / rate + job.plain / self.float32_rate) + self.overhead * job.passes
        if job.saving is not None:  # for which all of its devices wait
            seconds += job.parts * job.saving.seconds(seconds / job.parts)
        return seconds


def stated_devices(preset: str, count: int, utilisation: float, study: Study) -> Devices:
    """Devices from their data sheet, used to a share of its peak in the precision of training and of sampling.

    Raises:
        UserError: no such preset, or a share that is none.
    """
    if preset not in PRESETS:
        raise UserError(f"--device {preset}: choose one of {', '.join(PRESETS)}, or measure with --probe.")
    if not 0 < utilisation <= 1 or count < 1:
        raise UserError("--utilisation is a share of the peak, above 0 and at most 1; --devices at least 1.")
    name, memory = PRESETS[preset]
    precisions = study.training.precision, study.sampling.precision
    training, sampling = (PEAKS[name][precision] for precision in precisions)
    other = "" if training == sampling else f", of {sampling:g} in {precisions[1]} after it"
    return Devices(
        preset,
        count,
        utilisation * training * 1e12,
        utilisation * sampling * 1e12,
        utilisation * PEAKS[name]["float32"] * 1e12,
        memory * 1e9,
        f"stated: {utilisation:.0%} of the data sheet's {training:g} TFLOP/s in {precisions[0]}{other}",
    )


@dataclass(frozen=True)
class Price:
    """Of some jobs together."""

    device_seconds: float
    core_seconds: float
    """Of CPU cores, for what needs no device."""
    wall_seconds: float
    """With the jobs packed onto all devices, as many of those without device at a time, and no shorter than the longest
    chain of jobs that wait for each other."""


def price_of(jobs: Sequence[Job], devices: Devices) -> Price:
    """Time of the jobs of one stage."""
    seconds = [devices.seconds(job) + job.core_seconds / job.cores for job in jobs]
    chains: dict[str, float] = {}
    for job, cost in zip(jobs, seconds, strict=True):
        # Milestones of one run wait for each other; other jobs do not.
        chain = job.name.split(" to step ")[0] if job.stage == "training" else job.name
        chains[chain] = chains.get(chain, 0.0) + cost / min(job.parts, devices.count)
    on_devices, on_cores = sum(devices.seconds(job) for job in jobs), sum(job.core_seconds for job in jobs)
    return Price(on_devices, on_cores, max(sum(seconds) / devices.count, *chains.values(), 0.0))
