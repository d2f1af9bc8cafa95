from pathlib import Path

from dit_scaling.config.stages import AggregateSettings
from dit_scaling.results.aggregate import AggregateFiles, AggregateInputs, aggregate

from _job import job, paths, record_provenance

with job() as snakemake:
    settings = AggregateSettings.parse(snakemake.params.settings)
    output = snakemake.output
    inputs = AggregateInputs(
        paths(snakemake.input.metrics),
        paths(snakemake.input.logs),
        paths(snakemake.input.training),
        next(iter(paths(snakemake.input.manifest)), None),
        Path(snakemake.input.levels),
        paths(snakemake.input.losses),
    )
    files = AggregateFiles(
        parquet=Path(output.parquet),
        csv=Path(output.csv),
        curves=Path(output.curves),
        claims=Path(output.claims),
        agreement=Path(output.agreement),
        claims_table=Path(output.claims_table),
        sampling_steps=next(iter(paths(output.sampling_steps)), None),
    )
    aggregate(settings, inputs, files)
    record_provenance(snakemake, settings)
