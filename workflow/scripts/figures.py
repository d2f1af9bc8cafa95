from pathlib import Path

from dit_scaling.report.drawings import draw_figures

from _job import job, paths

with job() as snakemake:
    draw_figures(
        Path(snakemake.input.table),
        Path(snakemake.input.curves),
        Path(snakemake.input.levels),
        Path(snakemake.input.claims),
        dict(zip(snakemake.params.variants, paths(snakemake.input.samples), strict=True)),
        Path(snakemake.output.svg[0]).parent,
        next(iter(paths(snakemake.input.sampling_steps)), None),
    )
