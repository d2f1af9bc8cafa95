"""From arithmetic to hours, on devices that are stated or measured."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from dit_scaling.common.cuda_probe import driver_is_here
from dit_scaling.common.errors import UserError
from dit_scaling.common.spelling import did_you_mean
from dit_scaling.common.stage_words import Stage
from dit_scaling.config.study import Study
from dit_scaling.plan.jobs import Job
from dit_scaling.plan.peaks import PEAKS
from dit_scaling.plan.rates import Rates, rates_of
from dit_scaling.variants import TRAINING_PASSES, count_gflops

PRESETS = {"a100-40gb": ("A100", 40), "a100-80gb": ("A100", 80), "h100-80gb": ("H100", 80), "h200": ("H200", 141)}
"""Device -> its name in ``peaks.PEAKS``, and its memory in GB."""

FLOAT32_SHARE = 0.4

MOST_OF_A_CPU = 1e12
"""Operations of a step that a CPU takes ten seconds or more for: studies of such steps are not meant for it."""

STAGES: tuple[Stage, ...] = ("vae", "latents", "reference", "train", "losses", "sample", "features", "score")
"""Those that cost."""


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
    rates: Rates | None = None
    """Measured ones, in the place of those above but for float32's."""

    def seconds(self, job: Job) -> float:
        """Of one device, were it to do the job alone."""
        if self.rates is None:
            rate = self.rate if job.stage == "train" else self.sampling_rate
            around = (job.encoding + job.decoding) / self.sampling_rate
            seconds = 2 * (job.multiply_adds / rate + around) + self.overhead * job.passes
        else:
            seconds = _by_rates(job, self.rates)
        seconds += 2 * job.plain / self.float32_rate
        if job.saving is not None:  # for which all of its devices wait
            seconds += job.parts * job.saving.seconds(seconds / job.parts)
        return seconds + (self.seconds(job.measures) if job.measures else 0.0)


def _by_rates(job: Job, rates: Rates) -> float:
    """Seconds of a job but for what it computes in float32."""
    operations = 2 * job.multiply_adds
    around = 2 * (job.encoding / rates.encoding + job.decoding / rates.decoding)
    if job.stage != "train":
        passes = rates.sampling if job.stage == "sample" else rates.forward
        return passes.seconds(operations, job.written) + around
    if job.variant in rates.measured:
        computing = job.images * rates.measured[job.variant]
    else:
        computing = rates.training.seconds(operations, job.written)
    return max(computing, rates.launch * job.passes) + around


def gflops_by_name(study: Study) -> dict[str, float]:
    """Gflops of one image through each variant's network; a multiply-add counts once."""
    return {
        name: count_gflops(study.variant(name), study.latent_size, study.vae.latent_channels) for name in study.variants
    }


def step_operations(gflops: float, batch: int) -> float:
    """Operations of a training step on so many images; a multiply-add is two."""
    return 2 * TRAINING_PASSES * 1e9 * gflops * batch


def computes_on_cpu(study: Study) -> bool:
    """Whether the study's jobs compute on this machine's CPU: ``cpu``, or ``auto`` with small steps and no GPU here."""
    if study.resources.device != "auto":
        return study.resources.device == "cpu"
    costliest = max(gflops_by_name(study).values())
    if step_operations(costliest, study.training.batch_size) >= MOST_OF_A_CPU:
        return False
    if not driver_is_here():
        return True
    import torch  # takes seconds, and other plans do without

    return not torch.cuda.is_available()


def known_device(asked: str) -> str:
    """The preset that a name means: its beginning is enough, and ``a100`` is that of 80 GB.

    Raises:
        UserError: none is named so, or several are.
    """
    name = re.sub(r"^nvidia[ -]*", "", asked.strip().lower()).replace(" ", "-")
    found = [preset for preset in PRESETS if preset.startswith(name)] if name else []
    if name == "a100":
        found = ["a100-80gb"]
    if len(found) != 1:
        hint = did_you_mean(name, PRESETS)
        raise UserError(f"--device {asked}: choose one of {', '.join(PRESETS)}, or measure with --probe.{hint}")
    return found[0]


def devices_as_measured(asked: str, count: int, study: Study) -> Devices:
    """Devices at measured rates, or at those that follow from them (``rates``).

    Raises:
        UserError: no such device, or too few of them.
    """
    preset = known_device(asked)
    if count < 1:
        raise UserError("--devices is at least 1.")
    name, memory = PRESETS[preset]
    training, sampling = study.training, study.sampling
    rates = rates_of(
        name,
        training.precision,
        training.compile,
        sampling.precision,
        study.latents.precision,
        compiled_sampling=sampling.compile,
        priced=gflops_by_name(study),
    )
    plain = FLOAT32_SHARE * PEAKS[name]["float32"] * 1e12
    source = f"{rates.source}; features at {FLOAT32_SHARE:.0%} of the float32 peak, which is assumed"
    return Devices(preset, count, rates.training.rate, rates.sampling.rate, plain, memory * 1e9, source, rates=rates)


def stated_devices(preset: str, count: int, utilisation: float, study: Study) -> Devices:
    """Devices from their data sheet, used to a share of its peak in the precision of training and of sampling.

    Raises:
        UserError: no such preset, or a share that is none.
    """
    preset = known_device(preset)
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
        chain = job.name.split(" to step ")[0] if job.stage == "train" else job.name
        chains[chain] = chains.get(chain, 0.0) + cost / min(job.parts, devices.count)
    on_devices, on_cores = sum(devices.seconds(job) for job in jobs), sum(job.core_seconds for job in jobs)
    return Price(on_devices, on_cores, max(sum(seconds) / devices.count, *chains.values(), 0.0))
