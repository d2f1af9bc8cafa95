"""Arguments and options that several commands have."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from dit_scaling.common.errors import UserError
from dit_scaling.config.complaints import placed

EMBEDDED = [Path("config/config.yaml")]
"""The study where no config file is named; one that is named is a study of its own, not laid over this."""
CHECKPOINT = "Weights of a DiT: ema.safetensors, a released .pt, a checkpoint of DiT's train.py, or an exported folder."
WeightsOption = Annotated[
    Literal["ema", "model"], typer.Option(help="Which weights of a checkpoint that holds averaged and raw ones.")
]
ClassesOption = Annotated[
    int | None, typer.Option(help="Classes without the null class, where the label table leaves it open.")
]
ConfigFiles = Annotated[
    list[Path],
    typer.Argument(
        metavar="CONFIG",
        help="Config file of a study, config/config.yaml where none is named; each further one is laid over it.",
        show_default=False,
    ),
]
FamilyOption = Annotated[
    str | None, typer.Option(help="Family whose laws are fitted, as DiT@flow; DiT, or the only one of the table.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON in the place of a table.")]


class StudyCommand(TyperCommand):
    """A command about a study. Snakemake's word --configfile may stand before config files, and changes nothing."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        words = [word.removeprefix("--configfile=") for word in args if word != "--configfile"]
        return super().parse_args(ctx, words)

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run it; what is wrong with a key of the config is told with the key's file and line."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            raise UserError(placed(str(error), ctx.params.get("config") or ())) from None


def named(config: list[Path]) -> str:
    """The config files in the order in which they are laid over each other."""
    return ", ".join(map(str, config))


def tell_json(value: Any) -> None:
    """Print plain values as JSON."""
    typer.echo(json.dumps(value, indent=2))
