from pathlib import Path

from dit_scaling.config.stages import ReportSettings
from dit_scaling.results.loss_table import write_loss_table

from _job import job, paths, record_provenance

with job() as snakemake:
    settings = ReportSettings.parse(snakemake.params.settings)
    write_loss_table(settings.study, paths(snakemake.input.losses), Path(snakemake.output.table))
    record_provenance(snakemake, settings)
