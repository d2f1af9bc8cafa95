from pathlib import Path

from dit_scaling.common.devices import choose_device
from dit_scaling.config.stages import LatentsSettings
from dit_scaling.latents.encode import Encoding, encode_shard
from dit_scaling.latents.imported_shard import take_shard

from _job import job

with job() as snakemake:
    settings = LatentsSettings.parse(snakemake.params.settings)
    place = settings, snakemake.wildcards.split, int(snakemake.wildcards.shard)
    vae, shard, facts = map(Path, (snakemake.input.vae, snakemake.output.shard, snakemake.output.facts))
    if snakemake.input.imported:
        take_shard(*place, Path(snakemake.input.imported), vae, shard, facts)
    else:
        device = choose_device(snakemake.resources.device, jobs_per_gpu=snakemake.resources.jobs_per_gpu)
        encode_shard(*place, vae, shard, facts, Encoding(device, snakemake.resources.batch, snakemake.threads))
