from pathlib import Path

from dit_scaling.config.stages import ScoreSettings
from dit_scaling.devices import choose_device
from dit_scaling.metrics.score import ReferenceFiles, score_samples

from _job import job, paths, record_provenance

with job() as snakemake:
    settings = ScoreSettings.parse(snakemake.params.settings)
    device = choose_device(snakemake.resources.device)
    score_samples(
        settings,
        paths(snakemake.input.parts),
        Path(snakemake.input.extractor),
        ReferenceFiles(Path(snakemake.input.moments), Path(snakemake.input.features)),
        Path(snakemake.output.metrics),
        device,
    )
    record_provenance(snakemake, settings, device)
