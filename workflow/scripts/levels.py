from pathlib import Path

from dit_scaling.config.stages import LevelSettings
from dit_scaling.metrics.kept import ReferenceFiles
from dit_scaling.metrics.score import measure_levels

from _job import job, paths, record_provenance

with job() as snakemake:
    settings, files = LevelSettings.parse(snakemake.params.settings), snakemake.input
    reference = ReferenceFiles(Path(files.moments), Path(files.reference))
    measure_levels(settings, paths(files.features), reference, Path(snakemake.output.levels))
    record_provenance(snakemake, settings)
