from pathlib import Path

from dit_scaling.config.stages import LatentsSettings
from dit_scaling.latents.manifest import write_manifest

from _job import job, paths, record_provenance

with job() as snakemake:
    settings = LatentsSettings.parse(snakemake.params.settings)
    write_manifest(settings, paths(snakemake.input.facts), Path(snakemake.input.vae), Path(snakemake.output.manifest))
    record_provenance(snakemake, settings)
