"""``verify``: whether results are as their jobs left them."""

from typing import Annotated

import typer

from dit_scaling.cli.options import JsonOption, tell_json
from dit_scaling.cli.results_of_study import STUDY, find_results


def verify(
    study: Annotated[str, typer.Argument(help=STUDY)] = "config/config.yaml",
    as_json: JsonOption = False,
) -> None:
    """Read a study's files again, and say which are not as its jobs left them; exit code 1 where there are any."""
    from dit_scaling.results.verify import describe_verification
    from dit_scaling.results.verify import verify as compare

    results = find_results(study)
    found = compare(results)
    if as_json:
        damaged, states = ([*map(str, paths)] for paths in (found.damaged, found.states))
        tell_json({"results": str(results), "files": found.files, "damaged": damaged, "states": states})
    else:
        typer.echo(describe_verification(found, results))
    if found.damaged or found.states:
        raise typer.Exit(1)
