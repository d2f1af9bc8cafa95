"""The plan as plain values, for programs."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from dit_scaling.config.study import Study
from dit_scaling.plan.jobs import Job
from dit_scaling.plan.price import STAGES, Devices, price_of
from dit_scaling.plan.rerun import trained_in
from dit_scaling.plan.space import disk_of, peak_memory
from dit_scaling.variants import count_gflops


def plan_record(study: Study, jobs: Sequence[Job], devices: Devices, images: int, hourly: float) -> dict[str, Any]:
    """What the plan says of stages, variants and disk: hours, bytes, and Gflops of a forward pass of one latent."""
    return {
        "study": study.study,
        "images": images,
        "devices": {"name": devices.name, "count": devices.count, "rates": devices.source},
        **_priced(jobs, devices, hourly),
        "variants": [_variant_row(study, name, jobs, devices) for name in study.variants],
        "disk_bytes": {name: int(size) for name, size in asdict(disk_of(study, images)).items()},
    }


def rerun_record(changed: Sequence[Job], devices: Devices, against: str, hourly: float) -> dict[str, Any]:
    """What would run again: the stages, their hours and price, and the variants that would be trained."""
    return {"against": against, **_priced(changed, devices, hourly), "trained": trained_in(changed)}


def _priced(jobs: Sequence[Job], devices: Devices, hourly: float) -> dict[str, Any]:
    """The stages of some jobs, and all of them together."""
    stages = stage_rows(jobs, devices)
    hours = sum(row["device_hours"] for row in stages)
    return {
        "stages": stages,
        "device_hours": hours,
        "core_hours": sum(row["core_hours"] for row in stages),
        "price": hours * hourly if hourly else None,
    }


def stage_rows(jobs: Sequence[Job], devices: Devices) -> list[dict[str, Any]]:
    """Jobs, device-hours, core-hours and wall hours of each stage that has jobs."""
    rows = []
    for stage in STAGES:
        some = [job for job in jobs if job.stage == stage]
        price = price_of(some, devices)
        rows.append(
            {
                "stage": stage,
                "jobs": len(some),
                "device_hours": price.device_seconds / 3600,
                "core_hours": price.core_seconds / 3600,
                "wall_hours": price.wall_seconds / 3600,
            }
        )
    return [row for row in rows if row["jobs"]]


def _variant_row(study: Study, name: str, jobs: Sequence[Job], devices: Devices) -> dict[str, Any]:
    variant, ranks = study.variant(name), study.resources.gpus_per_node
    hours = {
        f"{stage}_hours": sum(devices.seconds(job) for job in jobs if (job.stage, job.variant) == (stage, name)) / 3600
        for stage in ("train", "sample")
    }
    return {
        "variant": name,
        "gflops": count_gflops(variant, study.latent_size, study.vae.latent_channels),
        "parameters": study.parameters(name),
        **hours,
        "peak_memory_bytes": peak_memory(study, variant, ranks, devices.memory) if name in study.trained else None,
    }
