from pathlib import Path

from dit_scaling.config.stages import AggregateSettings
from dit_scaling.results.aggregate import AggregateFiles, AggregateInputs, aggregate

from _job import job, paths, record_provenance

with job() as snakemake:
    settings = AggregateSettings.parse(snakemake.params.settings)
    output = snakemake.output
    tables = (output.parquet, output.csv, output.curves, output.claims, output.agreement, output.claims_table)
    inputs = AggregateInputs(
        paths(snakemake.input.metrics),
        paths(snakemake.input.logs),
        paths(snakemake.input.training),
        next(iter(paths(snakemake.input.manifest)), None),
        Path(snakemake.input.levels),
        paths(snakemake.input.losses),
    )
    sampling_steps = next(iter(paths(output.sampling_steps)), None)
    aggregate(settings, inputs, AggregateFiles(*map(Path, tables), sampling_steps))
    record_provenance(snakemake, settings)
