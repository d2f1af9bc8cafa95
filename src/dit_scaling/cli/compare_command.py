"""``compare``: finished studies side by side."""

from pathlib import Path
from typing import Annotated

import typer

from dit_scaling.cli.options import JsonOption, tell_json
from dit_scaling.cli.results_of_study import STUDY, find_results


def compare(
    studies: Annotated[list[str], typer.Argument(help=f"Two or more. {STUDY} The others are put beside the first.")],
    page: Annotated[Path, typer.Option(help="Page to write.")] = Path("comparison.html"),
    as_json: JsonOption = False,
) -> None:
    """Compare finished studies: settings, cost, verdicts, and each variant's difference beyond noise."""
    from dit_scaling.report.compare_page import write_compare_page
    from dit_scaling.results.compare import read_all
    from dit_scaling.results.compare_text import comparison_record, describe_comparisons
    from dit_scaling.results.finished_study import read_finished

    comparisons = read_all([read_finished(find_results(word)) for word in studies])
    write_compare_page(comparisons, page)
    if as_json:
        tell_json(comparison_record(comparisons))
        return
    typer.echo(describe_comparisons(comparisons))
    typer.echo(f"The page: {page}")
