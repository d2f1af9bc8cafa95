from pathlib import Path

from dit_scaling.common.devices import choose_device, describe_device
from dit_scaling.config.stages import FeatureSettings
from dit_scaling.metrics.extraction import extract_features

from _job import job, paths, record_provenance

with job() as snakemake:
    settings = FeatureSettings.parse(snakemake.params.settings)
    device = choose_device(snakemake.resources.device, jobs_per_gpu=snakemake.resources.jobs_per_gpu)
    extract_features(
        settings,
        paths(snakemake.input.parts),
        Path(snakemake.input.extractor),
        Path(snakemake.output.record),
        device,
    )
    record_provenance(snakemake, settings, describe_device(device))
