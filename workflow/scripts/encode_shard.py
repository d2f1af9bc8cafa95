from pathlib import Path

from dit_scaling.common.devices import choose_device
from dit_scaling.config.stages import LatentsSettings
from dit_scaling.latents.encode import Encoding, encode_shard

from _job import job

with job() as snakemake:
    encode_shard(
        LatentsSettings.parse(snakemake.params.settings),
        snakemake.wildcards.split,
        int(snakemake.wildcards.shard),
        Path(snakemake.input.vae),
        Path(snakemake.output.shard),
        Path(snakemake.output.facts),
        Encoding(
            choose_device(snakemake.resources.device, jobs_per_gpu=snakemake.resources.jobs_per_gpu),
            snakemake.resources.batch,
            snakemake.threads,
        ),
    )
