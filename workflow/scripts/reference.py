from pathlib import Path

from dit_scaling.common.devices import choose_device, describe_device
from dit_scaling.config.stages import ReferenceSettings
from dit_scaling.metrics.kept import ReferenceFiles
from dit_scaling.metrics.reference import make_reference

from _job import job, paths, record_provenance

with job() as snakemake:
    settings = ReferenceSettings.parse(snakemake.params.settings)
    device = choose_device(snakemake.resources.device, jobs_per_gpu=snakemake.resources.jobs_per_gpu)
    given = paths(snakemake.input.given)
    make_reference(
        settings,
        Path(snakemake.input.extractor),
        Path(snakemake.input.vae),
        given[0] if given else None,
        ReferenceFiles(Path(snakemake.output.moments), Path(snakemake.output.features)),
        paths(snakemake.output.levels),
        device,
    )
    record_provenance(snakemake, settings, describe_device(device))
