from pathlib import Path

from dit_scaling.config.stages import SampleSettings
from dit_scaling.devices import choose_device
from dit_scaling.sampling.stage import sample_part

from _job import job

with job() as snakemake:
    sample_part(
        SampleSettings.parse(snakemake.params.settings),
        int(snakemake.wildcards.part),
        Path(snakemake.input.checkpoint),
        Path(snakemake.input.vae),
        Path(snakemake.output.images),
        Path(snakemake.output.grid),
        snakemake.resources.batch,
        choose_device(snakemake.resources.device),
        snakemake.resources.log_seconds,
    )
