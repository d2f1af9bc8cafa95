"""The table of commands, and the program made of it."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import typer

from dit_scaling.cli.bench_command import bench
from dit_scaling.cli.check_command import check
from dit_scaling.cli.claims_command import claims
from dit_scaling.cli.clean_command import clean
from dit_scaling.cli.diagnose_command import diagnose
from dit_scaling.cli.export_command import export
from dit_scaling.cli.export_samples_command import export_samples
from dit_scaling.cli.init_command import init
from dit_scaling.cli.plan_command import plan
from dit_scaling.cli.prefetch_command import prefetch
from dit_scaling.cli.schema_command import schema
from dit_scaling.cli.status_command import status
from dit_scaling.cli.variants_command import variants
from dit_scaling.cli.verify_command import verify
from dit_scaling.common.allocator import keep_freed_memory
from dit_scaling.common.errors import UserError


@dataclass(frozen=True)
class Command:
    """One command: the function with its options, whose docstring is the help."""

    run: Callable[..., None]
    times_training: bool = False
    """It may time training, which it does as the pipeline's jobs train."""

    @property
    def name(self) -> str:
        """What one types: export-samples for a function export_samples."""
        return self.run.__name__.replace("_", "-")


COMMANDS = (
    Command(init),
    Command(check),
    Command(prefetch),
    Command(variants),
    Command(status),
    Command(plan, times_training=True),
    Command(bench, times_training=True),
    Command(claims),
    Command(export),
    Command(export_samples),
    Command(clean),
    Command(verify),
    Command(diagnose),
    Command(schema),
)
"""All commands, in the order of ``--help``."""

app = typer.Typer(
    help="Scaling studies of latent diffusion transformers. The pipeline itself is run with snakemake.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in COMMANDS:
    app.command(command.name)(command.run)


def main() -> None:
    """Entry point: one readable paragraph and exit code 2 for bad input."""
    if sys.argv[1:2] and sys.argv[1] in {command.name for command in COMMANDS if command.times_training}:
        keep_freed_memory()
    try:
        app()
    except UserError as error:
        typer.echo(f"Error: {error}", err=True)
        sys.exit(2)
