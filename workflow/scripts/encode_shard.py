from pathlib import Path

from dit_scaling.common.devices import choose_device
from dit_scaling.config.stages import LatentsSettings
from dit_scaling.latents.encode import Encoding, encode_shard
from dit_scaling.latents.imported_shard import take_shard
from dit_scaling.latents.manifest import ShardJob

from _job import job

with job() as snakemake:
    shard = ShardJob(
        LatentsSettings.parse(snakemake.params.settings),
        snakemake.wildcards.split,
        int(snakemake.wildcards.shard),
        vae_json=Path(snakemake.input.vae),
        output=Path(snakemake.output.shard),
        facts=Path(snakemake.output.facts),
    )
    if snakemake.input.imported:
        take_shard(shard, Path(snakemake.input.imported))
    else:
        device = choose_device(snakemake.resources.device, jobs_per_gpu=snakemake.resources.jobs_per_gpu)
        encode_shard(shard, Encoding(device, snakemake.resources.batch, snakemake.threads))
