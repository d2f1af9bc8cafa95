from pathlib import Path

from dit_scaling.common.devices import choose_device, describe_device
from dit_scaling.config.stages import ExtractorSettings
from dit_scaling.metrics.extractors import make_extractor

from _job import job, paths, record_provenance

with job() as snakemake:
    settings = ExtractorSettings.parse(snakemake.params.settings)
    device = choose_device(snakemake.resources.device, jobs_per_gpu=snakemake.resources.jobs_per_gpu)
    given = paths(snakemake.input.get("weights", []))
    make_extractor(settings, Path(snakemake.output.record), device, given[0] if given else None)
    record_provenance(snakemake, settings, describe_device(device))
