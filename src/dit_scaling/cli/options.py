"""Arguments and options that several commands have."""

from pathlib import Path
from typing import Annotated, Literal

import typer

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
    typer.Argument(help="Config file of a study, for example config/config.yaml; each further one is laid over it."),
]
ConfigOption = Annotated[
    list[Path],
    typer.Option("--configfile", help="Config file of the study; repeat it to lay another over those before."),
]


def named(config: list[Path]) -> str:
    """The config files in the order in which they are laid over each other."""
    return ", ".join(map(str, config))
