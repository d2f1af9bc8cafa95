from pathlib import Path

from dit_scaling.config.stages import ScoreSettings
from dit_scaling.metrics.kept import ReferenceFiles
from dit_scaling.metrics.score import score_samples

from _job import job, paths, record_provenance

with job() as snakemake:
    settings, files = ScoreSettings.parse(snakemake.params.settings), snakemake.input
    references = map(ReferenceFiles, paths(files.moments), paths(files.references))
    score_samples(settings, paths(files.features), list(references), Path(snakemake.output.metrics))
    record_provenance(snakemake, settings)
