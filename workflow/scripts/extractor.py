from pathlib import Path

from dit_scaling.config.stages import ExtractorSettings
from dit_scaling.devices import choose_device
from dit_scaling.metrics.extractors import make_extractor

from _job import job, record_provenance

with job() as snakemake:
    settings = ExtractorSettings.parse(snakemake.params.settings)
    device = choose_device(snakemake.resources.device)
    make_extractor(settings, Path(snakemake.output.record), device)
    record_provenance(snakemake, settings, device)
