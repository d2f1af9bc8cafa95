from pathlib import Path

from dit_scaling.common.devices import choose_device
from dit_scaling.config.stages import PreflightSettings
from dit_scaling.health.preflight.preflight import run_preflight

from _job import job

with job() as snakemake:
    run_preflight(
        PreflightSettings.parse(snakemake.params.settings),
        Path(snakemake.input.vae),
        Path(snakemake.input.manifest),
        Path(snakemake.output.record),
        choose_device(snakemake.resources.device, jobs_per_gpu=snakemake.resources.jobs_per_gpu),
    )
