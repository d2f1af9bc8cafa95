"""The plan as text for the terminal."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from dit_scaling.common.progress import describe_seconds
from dit_scaling.common.stage_words import Stage
from dit_scaling.common.words import count
from dit_scaling.config.study import Study
from dit_scaling.plan import expectation, power
from dit_scaling.plan.jobs import Job, on_ranks
from dit_scaling.plan.price import STAGES, Devices, Price, price_of
from dit_scaling.plan.rerun import trained_in
from dit_scaling.plan.space import disk_of, peak_memory
from dit_scaling.variants import count_gflops

OF_VARIANTS: tuple[Stage, ...] = ("train", "sample")
HEADS = ("stage", "jobs", "device-hours", "core-hours", "wall")


def describe_plan(study: Study, jobs: Sequence[Job], devices: Devices, images: int, hourly: float = 0.0) -> str:
    """Costs, disk, memory, and what the budget can show; ``hourly`` is what a device costs an hour."""
    return "\n".join(
        [
            *_head(study, devices, images),
            *_stages(jobs, devices, hourly),
            *_ranks(study, jobs, devices),
            "",
            *_variants(study, jobs, devices),
            "",
            *_space(study, images),
            "",
            *_budget(study, images),
        ]
    )


def describe_rerun(changed: Sequence[Job], devices: Devices, against: str, hourly: float = 0.0) -> str:
    """What would run again, stage by stage, and its cost."""
    if not changed:
        return f"Nothing that costs would run again, compared with {against}."
    lines = [f"Compared with {against}, {count(len(changed), 'job')} would run:", _row(*HEADS)]
    for stage in STAGES:
        some = [job for job in changed if job.stage == stage]
        if some:
            price = price_of(some, devices)
            lines.append(_priced(stage, some, price))
    total, cores = sum(devices.seconds(job) for job in changed), sum(job.core_seconds for job in changed)
    trained = trained_in(changed)
    lines.append(_row("together", str(len(changed)), _hours(total), _hours(cores), ""))
    lines += _money(total, hourly)
    return "\n".join([*lines, f"Trained: {', '.join(trained)}." if trained else "Nothing would be trained."])


def _head(study: Study, devices: Devices, images: int) -> list[str]:
    return [
        f"Study '{study.study}': {count(len(study.variants), 'variant')}, {_seeds(study)}, "
        f"{study.lengths} of batch {study.training.batch_size}, {images:,} images.",
        f"Devices: {devices.count} x {devices.name}{_stated_rate(devices)} ({devices.source}). "
        "A multiply-add is two operations; training is three forward passes.",
        "",
    ]


def _stated_rate(devices: Devices) -> str:
    return f", {devices.rate / 1e12:.3g} TFLOP/s each" if devices.rates is None else ""


def _stages(jobs: Sequence[Job], devices: Devices, hourly: float) -> Iterator[str]:
    yield _row(*HEADS)
    wall = total = cores = 0.0
    for stage in STAGES:
        some = [job for job in jobs if job.stage == stage]
        price = price_of(some, devices)
        total, cores, wall = total + price.device_seconds, cores + price.core_seconds, wall + price.wall_seconds
        yield _priced(stage, some, price)
    yield _row("together", str(len(jobs)), _hours(total), _hours(cores), describe_seconds(wall))
    yield from _money(total, hourly)


def _money(device_seconds: float, hourly: float) -> list[str]:
    price = device_seconds / 3600 * hourly
    return [f"At {hourly:g} a device-hour: {price:,.{0 if price >= 100 else 2}f}."] if hourly else []


def _ranks(study: Study, jobs: Sequence[Job], devices: Devices) -> Iterator[str]:
    """The ranks that would shorten training, where others than the configured ones do by a tenth or more."""
    trainings = [job for job in jobs if job.stage == "train"]
    walls = {
        ranks: price_of([on_ranks(study, job, ranks) for job in trainings], devices).wall_seconds
        for ranks in range(1, devices.count + 1)
        if study.training.batch_size % ranks == 0
    }
    now = price_of(trainings, devices).wall_seconds
    # The fewest ranks within a hundredth of the shortest: what ranks tell each other is not in these figures.
    best = next((ranks for ranks in walls if walls[ranks] <= 1.01 * min(walls.values())), None)
    if best is not None and walls[best] < 0.9 * now:
        yield (
            f"Shorter: training takes {describe_seconds(now)} with resources.gpus_per_node "
            f"{study.resources.gpus_per_node}, "
            f"and {describe_seconds(walls[best])} with {best} (but for what ranks lose)."
        )


def _priced(stage: str, jobs: Sequence[Job], price: Price) -> str:
    hours = _hours(price.device_seconds), _hours(price.core_seconds)
    return _row(stage, str(len(jobs)), *hours, describe_seconds(price.wall_seconds))


def _variants(study: Study, jobs: Sequence[Job], devices: Devices) -> Iterator[str]:
    ranks = study.resources.gpus_per_node
    spent: defaultdict[tuple[Stage, str], float] = defaultdict(float)
    for job in jobs:
        if job.stage in OF_VARIANTS:
            spent[job.stage, job.variant] += devices.seconds(job)
    yield _row("variant", "Gflops", "parameters", *OF_VARIANTS, "peak memory")
    for name in study.variants:
        variant = study.variant(name)
        memory = peak_memory(study, variant, ranks, devices.memory) if name in study.trained else None
        beyond = memory is not None and devices.memory is not None and memory > devices.memory
        yield _row(
            name,
            f"{count_gflops(variant, study.latent_size, study.vae.latent_channels):.4g}",
            f"{study.parameters(name) / 1e6:.4g}M",
            *(f"{_hours(spent[stage, name])} h" for stage in OF_VARIANTS),
            "unknown" if memory is None else f"{_size(memory)}{' TOO MUCH' if beyond else ''}",
        )
        if beyond:
            yield f"  {name} does not fit: {_remedy(study)}."


def _remedy(study: Study) -> str:
    """Where a variant does not fit."""
    if study.resources.micro_batch == "auto":
        return "not even one sample at a time; take devices with more memory, or lower resources.jobs_per_gpu"
    return "set resources.micro_batch to auto, or lower it"


def _space(study: Study, images: int) -> Iterator[str]:
    disk = disk_of(study, images)
    yield (
        f"Disk: {_size(disk.total)}: latents {_size(disk.latents)}, exported weights {_size(disk.checkpoints)}, "
        f"training states {_size(disk.states)}, samples {_size(disk.samples)}, features {_size(disk.features)}. "
        "Peak memory is an estimate, per device."
    )


def _budget(study: Study, images: int) -> Iterator[str]:
    reason = expectation.why_no_band(study, images)
    if reason:
        yield f"What the budget can show: not known in advance, as {reason}."
        return
    share = expectation.gap_share(expectation.equal_steps(study))
    yield f"FID to expect at {study.training.steps:,} steps (published at 400,000 in brackets):"
    for name, band in expectation.expected_bands(study).items():
        yield f"  {name}: {band.low:.0f} to {band.high:.0f} ({band.published:g})"
    yield f"Sources: {expectation.SOURCES}."
    yield (
        f"Chances below: {_seeds(study)}, {study.sampling.num_samples:,} samples, ln FID of a run "
        f"scatters by {power.noise_of_run(study.sampling.num_samples):.1%}; {share:.0%} of the published "
        "differences are taken to be there already."
    )
    yield from power.describe_claims(study)
    if len(study.training.seeds) == 1:
        yield power.ONE_SEED
    yield "The chance of each verdict, and how many seeds it takes: plan --chances."


def _row(*cells: str) -> str:
    return f"{cells[0]:<12}" + "".join(f"{cell:>16}" for cell in cells[1:])


def _seeds(study: Study) -> str:
    return count(len(study.training.seeds), "seed")


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.3g}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
