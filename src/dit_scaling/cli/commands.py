"""The table of commands, and the program made of it."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from dit_scaling.cli.bench_command import bench
from dit_scaling.cli.check_command import check
from dit_scaling.cli.claims_command import claims
from dit_scaling.cli.clean_command import clean
from dit_scaling.cli.compare_command import compare
from dit_scaling.cli.diagnose_command import diagnose
from dit_scaling.cli.export_command import export
from dit_scaling.cli.export_samples_command import export_samples
from dit_scaling.cli.import_latents_command import import_latents
from dit_scaling.cli.init_command import init
from dit_scaling.cli.laws_command import laws
from dit_scaling.cli.options import StudyCommand
from dit_scaling.cli.plan_command import plan
from dit_scaling.cli.predict_command import predict
from dit_scaling.cli.prefetch_command import prefetch
from dit_scaling.cli.report_command import report
from dit_scaling.cli.schema_command import schema
from dit_scaling.cli.score_command import score
from dit_scaling.cli.status_command import status
from dit_scaling.cli.variants_command import variants
from dit_scaling.cli.verify_command import verify
from dit_scaling.common.allocator import keep_freed_memory
from dit_scaling.common.colour import coloured
from dit_scaling.common.errors import UserError
from dit_scaling.common.lacking_memory import fixed_memory_named, refuse_little_address_space
from dit_scaling.common.surroundings import give_home, name_user


@dataclass(frozen=True)
class Command:
    """One command: the function with its options, whose docstring is the help."""

    run: Callable[..., None]
    times_training: bool = False
    """It may time training, which it does as the pipeline's jobs train."""
    loads_torch: bool = False

    @property
    def name(self) -> str:
        """What one types: export-samples for a function export_samples."""
        return self.run.__name__.replace("_", "-")


COMMANDS = (
    Command(init),
    Command(check),
    Command(prefetch),
    Command(import_latents),
    Command(variants),
    Command(status),
    Command(plan, times_training=True),
    Command(bench, times_training=True, loads_torch=True),
    Command(claims),
    Command(compare),
    Command(laws),
    Command(predict),
    Command(export, loads_torch=True),
    Command(export_samples),
    Command(score),
    Command(clean),
    Command(verify),
    Command(report),
    Command(diagnose, loads_torch=True),
    Command(schema),
)
"""All commands, in the order of ``--help``."""

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
for command in COMMANDS:
    app.command(command.name, cls=StudyCommand)(command.run)


def tell_version(asked: bool) -> None:
    """Print the version and end, where it is asked for."""
    if asked:
        typer.echo(f"dit-scaling {version('dit-scaling')}")
        raise typer.Exit


@app.callback()
def describe_program(
    _: Annotated[
        bool, typer.Option("--version", callback=tell_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Scaling studies of latent diffusion transformers. The pipeline itself is run with snakemake."""


def main() -> None:
    """Entry point: one readable paragraph and exit code 2 for bad input."""
    name_user()
    give_home(Path("cache/home"))
    name = next(iter(sys.argv[1:]), "")
    asked = next((command for command in COMMANDS if command.name == name), None)
    if asked and asked.times_training:
        keep_freed_memory()
    try:
        if asked and asked.loads_torch:
            refuse_little_address_space()
        with fixed_memory_named(f"dit-scaling {name}"):
            app()
    except UserError as error:
        typer.echo(f"{coloured('Error:', 'red', sys.stderr)} {error}", err=True, color=True)
        sys.exit(2)
