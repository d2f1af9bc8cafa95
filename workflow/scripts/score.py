from pathlib import Path

from dit_scaling.common.devices import choose_device, describe_device
from dit_scaling.config.stages import ScoreSettings
from dit_scaling.metrics.score import ReferenceFiles, score_samples

from _job import job, paths, record_provenance

with job() as snakemake:
    settings = ScoreSettings.parse(snakemake.params.settings)
    device = choose_device(snakemake.resources.device, jobs_per_gpu=snakemake.resources.jobs_per_gpu)
    score_samples(
        settings,
        paths(snakemake.input.parts),
        paths(snakemake.input.extractors),
        [
            ReferenceFiles(moments, features)
            for moments, features in zip(paths(snakemake.input.moments), paths(snakemake.input.features), strict=True)
        ],
        Path(snakemake.output.metrics),
        device,
    )
    record_provenance(snakemake, settings, describe_device(device))
