"""``predict``: what a budget buys, by the laws of a finished study."""

from pathlib import Path
from typing import Annotated

import typer

from dit_scaling.cli.options import FamilyOption, JsonOption, tell_json
from dit_scaling.common.errors import UserError


def predict(
    results: Annotated[Path, typer.Option("--from", help="results/STUDY of a finished study with held-out losses.")],
    budget: Annotated[str, typer.Option(help="Device-hours, as 300, or training FLOPs, as 1e18flops.")],
    device: Annotated[str | None, typer.Option(help="h200, h100, a100 or a100-40gb: what the hours are of.")] = None,
    family: FamilyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say which size and how many steps a budget buys, and the loss and distance to expect, with intervals."""
    from dit_scaling.plan.reach import (
        describe_reach,
        flops_per_hour,
        parse_budget,
        reach_of,
        reach_record,
        read_study,
    )

    study = read_study(results)
    amount, unit = parse_budget(budget)
    if unit == "hours" and device is None:
        raise UserError("--budget is in device-hours: name the --device, or give training FLOPs, as 1e18flops.")
    per_hour = flops_per_hour(device, study) if device else None
    flops = amount * per_hour if unit == "hours" and per_hour else amount
    hours, batch = flops / per_hour if per_hour else None, study.training.batch_size
    reach = reach_of(results, flops, batch, family)
    if as_json:
        tell_json({**reach_record(reach, batch), "device": device, "device_hours": hours})
        return
    typer.echo(describe_reach(reach, batch))
    if hours is None:
        typer.echo("Cost: name a --device to have its hours.")
    else:
        typer.echo(f"Cost: {hours:.4g} hours of one {device}, at the rate that `plan` takes.")
