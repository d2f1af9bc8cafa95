"""``report``: a finished study's page with points of others, or with all that it links as one file."""

from pathlib import Path
from typing import Annotated

import typer

from dit_scaling.cli.options import EMBEDDED, ConfigFiles

AddOption = Annotated[
    Path | None,
    typer.Option(help="CSV of points to show beside the study's: variant, gflops and/or params_m, and the distance."),
]
SampledOption = Annotated[
    list[Path] | None,
    typer.Option(help="metrics.csv of the same runs by another sampler or in other steps; may be given several times."),
]
BundleOption = Annotated[Path | None, typer.Option(help="ZIP to write: the page with all files that it links.")]


def report(
    config: ConfigFiles = EMBEDDED,
    add: AddOption = None,
    sampled: SampledOption = None,
    bundle: BundleOption = None,
) -> None:
    """Add points and other samplings to a finished study's report, or pack it with all its files."""
    from dit_scaling.config import load_study
    from dit_scaling.report.remake import make_report

    study = load_study(*config)
    written, lost = make_report(study, Path("results") / study.study, add, sampled or (), bundle)
    typer.echo(f"Written: {written}")
    if lost:
        typer.echo(f"Left out, as nothing is there or it lies outside the results: {', '.join(lost)}")
