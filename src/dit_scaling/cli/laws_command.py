"""``laws``: scaling laws of a study, and their test on published results."""

from pathlib import Path
from typing import Annotated

import typer

from dit_scaling.cli.options import FamilyOption, JsonOption, tell_json
from dit_scaling.common.errors import UserError


def laws(
    results: Annotated[Path | None, typer.Argument(help="results/STUDY of a finished study with losses.")] = None,
    metric: Annotated[str | None, typer.Option(help="Column to fit; else held_out_mse.")] = None,
    family: FamilyOption = None,
    published: Annotated[
        bool, typer.Option("--published", help="Predict published FIDs from others, and say how well.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Fit scaling laws to a study, with intervals, or test them forward on the published field."""
    from dit_scaling.laws.backtest import back_test
    from dit_scaling.laws.laws_record import backtest_record, laws_record
    from dit_scaling.laws.laws_table import read_laws_table
    from dit_scaling.laws.laws_text import describe_backtest, describe_laws
    from dit_scaling.laws.study_laws import fit_laws
    from dit_scaling.losses.loss_names import HEADLINE

    if (results is None) != published:
        raise UserError("Give the folder of a study's results, or --published, and not both.")
    if published and (metric, family) != (None, None):
        raise UserError("--published is of FIDs and all families: leave out --metric and --family.")
    if results is None:
        predictions = back_test()
        if as_json:
            tell_json(backtest_record(predictions))
        else:
            typer.echo(describe_backtest(predictions))
        return
    found = fit_laws(read_laws_table(results), metric or HEADLINE, family)
    if as_json:
        tell_json(laws_record(found))
    else:
        typer.echo(describe_laws(found))
