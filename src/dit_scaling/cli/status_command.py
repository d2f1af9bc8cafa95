"""``status``: how far a study is."""

from pathlib import Path

import typer

from dit_scaling.cli.options import EMBEDDED, ConfigOption


def status(config: ConfigOption = EMBEDDED) -> None:
    """Show what of a study is done, running and waiting, from the files in results/."""
    from dit_scaling.config import load_study
    from dit_scaling.data.assets import open_stages
    from dit_scaling.results.status import describe_status, read_status

    study = load_study(*config)
    results = Path("results") / study.study
    if not results.is_dir():
        typer.echo(f"{results.absolute()} does not exist: nothing of the study was run from this folder.")
    typer.echo(describe_status(read_status(study, open_stages(study, results), results), results))
