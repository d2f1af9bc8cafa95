from pathlib import Path

from dit_scaling.common.devices import choose_device, describe_device
from dit_scaling.config.stages import VaeSettings
from dit_scaling.latents.vae_stage import make_vae

from _job import job, paths, record_provenance

with job() as snakemake:
    settings = VaeSettings.parse(snakemake.params.settings)
    device = choose_device(snakemake.resources.device, jobs_per_gpu=snakemake.resources.jobs_per_gpu)
    record = Path(snakemake.output.record)
    given = [Path(file).parent for file in paths(snakemake.input.given)]
    folder = given[0] if given else record.parent / "autoencoder"
    make_vae(settings, record, folder, Path(snakemake.output.picture), device)
    record_provenance(snakemake, settings, describe_device(device))
