"""``verify``: whether results are as their jobs left them."""

from pathlib import Path
from typing import Annotated

import typer


def verify(
    study: Annotated[str, typer.Argument(help="Folder of its results, or its name below results/.")],
) -> None:
    """Read a study's files again, and say which are not as its jobs left them; exit code 1 where there are any."""
    from dit_scaling.results.verify import describe_verification
    from dit_scaling.results.verify import verify as compare

    results = Path(study) if Path(study).is_dir() else Path("results", study)
    found = compare(results)
    typer.echo(describe_verification(found, results))
    if found.damaged or found.states:
        raise typer.Exit(1)
