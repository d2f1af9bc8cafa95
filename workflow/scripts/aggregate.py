from pathlib import Path

from dit_scaling.aggregate import AggregateFiles, aggregate
from dit_scaling.config.stages import AggregateSettings

from _job import job, paths, record_provenance

with job() as snakemake:
    settings = AggregateSettings.parse(snakemake.params.settings)
    output = snakemake.output
    aggregate(
        settings,
        paths(snakemake.input.metrics),
        paths(snakemake.input.logs),
        paths(snakemake.input.training),
        Path(snakemake.input.manifest),
        Path(snakemake.input.lines),
        AggregateFiles(Path(output.parquet), Path(output.csv), Path(output.curves), Path(output.claims)),
    )
    record_provenance(snakemake, settings)
