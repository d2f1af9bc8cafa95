"""The command line ``dit-scaling``: what one asks before, beside and after a run of the pipeline.

Commands import what they need when they run, so that ``--help`` answers at once.
"""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from dit_scaling.errors import UserError

app = typer.Typer(
    help="Scaling studies of latent diffusion transformers. The pipeline itself is run with snakemake.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ConfigFile = Annotated[Path, typer.Argument(help="Config file of a study, for example config/config.yaml.")]


@app.command()
def check(config: ConfigFile) -> None:
    """Check a config file without starting anything, and list what is doubtful in it."""
    from dit_scaling.config import load_study
    from dit_scaling.data.sources import check_source

    study = load_study(config)
    if study.data.source == "image_folder":
        check_source(study.data)
    for warning in study.warnings():
        typer.echo(f"Doubtful: {warning}.")
    runs = len(study.variants) * len(study.training.seeds)
    typer.echo(f"{config}: study '{study.study}', {runs} training runs of {study.training.steps} steps. No errors.")


@app.command()
def variants(config: ConfigFile) -> None:
    """Print the variants of a study with tokens, parameters and Gflops."""
    from dit_scaling.config import load_study
    from dit_scaling.variants import count_gflops, count_parameters, count_tokens

    study = load_study(config)
    channels, size = study.vae.latent_channels, study.latent_size
    typer.echo(f"{'variant':<16}{'layers':>7}{'width':>7}{'tokens':>8}{'params':>14}{'Gflops':>12}")
    for name in study.variants:
        variant = study.variant(name)
        parameters = count_parameters(variant, study.data.classes, channels)
        typer.echo(
            f"{name:<16}{variant.layers:>7}{variant.width:>7}{count_tokens(variant, size):>8}{parameters:>14,}"
            f"{count_gflops(variant, size, channels):>12.4g}"
        )


@app.command()
def claims(
    table: Annotated[Path, typer.Argument(help="CSV or Parquet: variant, size, patch, params_m, gflops, a metric.")],
    metric: Annotated[str | None, typer.Option(help="Column to judge; fid50k, or the only fid*/fd_* column.")] = None,
    decoded_noise: Annotated[float | None, typer.Option(help="The same metric on decoded Gaussian noise.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of sentences.")] = False,
) -> None:
    """Judge the paper's claims on a table of metrics."""
    from dit_scaling.claims import evaluate_claims, read_metrics_table

    report = evaluate_claims(read_metrics_table(table, metric), metric, decoded_noise=decoded_noise).to_dict()
    if as_json:
        typer.echo(json.dumps(report, indent=2))
        return
    for claim in report["claims"]:
        typer.echo(f"Claim {claim['claim']}: {claim['verdict']}. {claim['statement']}. {claim['reason']}")
    for note in report["assumptions"]:
        typer.echo(f"Assumed: {note}.")


@app.command()
def schema(
    output: Annotated[Path, typer.Argument(help="Where the schema is, or goes.")] = Path("config/study.schema.json"),
    check_only: Annotated[bool, typer.Option("--check", help="Only say whether the file is up to date.")] = False,
) -> None:
    """Write the JSON schema of config files, or check that the written one is up to date."""
    from dit_scaling.config.schema import schema_text
    from dit_scaling.files import atomic_path

    if not check_only:
        with atomic_path(output) as temporary:
            temporary.write_text(schema_text())
    elif not output.exists() or output.read_text() != schema_text():
        raise UserError(f"{output} is not the schema of this version; run: dit-scaling schema {output}")


def main() -> None:
    """Entry point: one readable paragraph and exit code 2 for bad input."""
    try:
        app()
    except UserError as error:
        typer.echo(f"Error: {error}", err=True)
        sys.exit(2)
