"""``status``: how far a study is."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from dit_scaling.cli.options import EMBEDDED, ConfigFiles, JsonOption


def status(
    config: ConfigFiles = EMBEDDED,
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every few seconds, until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks of --watch.")] = 5.0,
) -> None:
    """Show what of a study is done, running, waiting and broken, from the files in results/."""
    from dit_scaling.config import load_study
    from dit_scaling.data.assets import open_stages
    from dit_scaling.results.status import read_status
    from dit_scaling.results.status_text import describe_status, status_json

    study = load_study(*config)
    results = Path("results") / study.study
    stages = open_stages(study, results)
    if not results.is_dir() and not as_json:
        typer.echo(f"{results.absolute()} does not exist: nothing of the study was run from this folder.")
    while True:
        found = read_status(study, stages, results)
        text = status_json(found) if as_json else describe_status(found, results)
        if watch and sys.stdout.isatty():
            typer.echo("\x1b[H\x1b[2J", nl=False)  # From the top of an empty screen.
        typer.echo(text)
        if not watch:
            return
        time.sleep(every)
