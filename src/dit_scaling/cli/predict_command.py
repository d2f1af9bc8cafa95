"""``predict``: what a budget buys, by the laws of a finished study."""

from pathlib import Path
from typing import Annotated

import typer

from dit_scaling.cli.options import JsonOption, tell_json
from dit_scaling.common.errors import UserError


def predict(
    results: Annotated[Path, typer.Option("--from", help="results/STUDY of a finished study with held-out losses.")],
    budget: Annotated[str, typer.Option(help="Device-hours, as 300, or training FLOPs, as 1e18flops.")],
    device: Annotated[str | None, typer.Option(help="h200, h100, a100 or a100-40gb: what the hours are of.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say which size and how many steps a budget buys, and the loss and distance to expect, with intervals."""
    from dit_scaling.plan.reach import (
        describe_reach,
        flops_of_hours,
        parse_budget,
        reach_of,
        reach_record,
        read_study,
    )

    study = read_study(results)
    amount, unit = parse_budget(budget)
    if unit == "hours":
        if device is None:
            raise UserError("--budget is in device-hours: name the --device, or give training FLOPs, as 1e18flops.")
        flops = flops_of_hours(amount, device, study)
    else:
        flops = amount
    batch = study.training.batch_size
    reach = reach_of(results, flops, batch)
    if as_json:
        tell_json(reach_record(reach, batch))
        return
    if unit == "hours":
        typer.echo(f"{amount:g} hours of one {device}: {flops:.3g} training FLOPs, at the rate that `plan` takes.")
    typer.echo(describe_reach(reach, batch))
