from pathlib import Path

from dit_scaling.config.stages import LatentsSettings, ScoreSettings
from dit_scaling.devices import choose_device
from dit_scaling.metrics.reference import make_reference
from dit_scaling.metrics.score import ReferenceFiles

from _job import job, record_provenance

with job() as snakemake:
    settings = ScoreSettings.parse(snakemake.params.settings)
    device = choose_device(snakemake.resources.device)
    make_reference(
        settings,
        LatentsSettings.parse(snakemake.params.latents),
        Path(snakemake.input.extractor),
        Path(snakemake.input.vae),
        ReferenceFiles(Path(snakemake.output.moments), Path(snakemake.output.features)),
        Path(snakemake.output.lines),
        device,
    )
    record_provenance(snakemake, settings, device)
