from pathlib import Path

from dit_scaling.config.stages import MemorisationSettings
from dit_scaling.metrics.memorisation import measure_memorisation

from _job import job, paths, record_provenance

with job() as snakemake:
    settings = MemorisationSettings.parse(snakemake.params.settings)
    output = snakemake.output
    measure_memorisation(settings, paths(snakemake.input.parts), Path(output.record), Path(output.picture))
    record_provenance(snakemake, settings)
