from pathlib import Path

from dit_scaling.config.stages import ReportSettings
from dit_scaling.report.inputs import ReportInputs
from dit_scaling.report.page import write_report

from _job import job, paths

with job() as snakemake:
    files = snakemake.input
    write_report(
        ReportSettings.parse(snakemake.params.settings),
        ReportInputs(
            table=Path(files.table),
            curves=Path(files.curves),
            claims=Path(files.claims),
            agreement=Path(files.agreement),
            levels=Path(files.levels),
            data=Path(files.data),
            vae=Path(files.vae),
            reconstructions=Path(files.reconstructions),
            manifest=next(iter(paths(files.manifest)), None),
            preflight=next(iter(paths(files.preflight)), None),
            gates=paths(files.gates),
            extractor=Path(files.extractor),
            provenance=Path(files.provenance),
            times=Path(snakemake.params.times),
            figures=paths(files.figures)[0].parent,
            samples=paths(files.samples),
            memorisation=paths(files.memorisation),
            sampling_steps=next(iter(paths(files.sampling_steps)), None),
        ),
        Path(snakemake.output.html),
    )
