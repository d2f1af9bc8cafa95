from pathlib import Path

from dit_scaling.config.stages import VaeSettings
from dit_scaling.devices import choose_device
from dit_scaling.latents.vae_stage import make_vae

from _job import job, record_provenance

with job() as snakemake:
    settings = VaeSettings.parse(snakemake.params.settings)
    device = choose_device(snakemake.resources.device)
    record = Path(snakemake.output.record)
    make_vae(settings, record, record.parent / "autoencoder", Path(snakemake.output.picture), device)
    record_provenance(snakemake, settings, device)
