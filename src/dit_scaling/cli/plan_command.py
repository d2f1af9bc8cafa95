"""``plan``: what a study costs, and what it can show."""

import math
from pathlib import Path
from typing import Annotated

import typer

from dit_scaling.cli.options import EMBEDDED, ConfigFiles, JsonOption, tell_json
from dit_scaling.common.errors import UserError


def plan(
    config: ConfigFiles = EMBEDDED,
    device: Annotated[
        str | None,
        typer.Option(help="h200, h100, a100 or a100-40gb; this machine where a study computes on its CPU, else a100."),
    ] = None,
    devices: Annotated[
        int | None, typer.Option(min=1, help="How many; 8, or this machine's cores over threads.")
    ] = None,
    utilisation: Annotated[
        float | None,
        typer.Option(help="Share of the data sheet's peak that is reached, instead of measured rates."),
    ] = None,
    probe: Annotated[bool, typer.Option(help="Measure this machine's rate with a short training, instead.")] = False,
    diff: Annotated[Path | None, typer.Option(help="Another config, or results/STUDY: what would run again.")] = None,
    laws_of: Annotated[
        Path | None, typer.Option("--from", help="results/STUDY, whose laws say what the dearest run can reach.")
    ] = None,
    price_per_hour: Annotated[float, typer.Option(min=0, help="Of one device: the price in that currency.")] = 0.0,
    chances: Annotated[bool, typer.Option("--chances", help="Also simulate how likely each verdict is.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Price a study before it starts, and say what its budget can show."""
    from dit_scaling.config import load_study
    from dit_scaling.plan.command import look_at, plan_as_record, tell_plan
    from dit_scaling.plan.price import computes_on_cpu, devices_as_measured, stated_devices

    if probe and (device is not None or utilisation is not None):
        raise UserError("--probe measures this machine: leave out --device and --utilisation, which are of another.")
    if not math.isfinite(price_per_hour):
        raise UserError(f"--price-per-hour {price_per_hour}: give a number.")
    study = load_study(*config)
    here = device is None and utilisation is None and computes_on_cpu(study)
    if probe or here:
        import os

        from dit_scaling.plan.throughput import measured_devices

        cores = max(1, (os.cpu_count() or 1) // study.resources.threads)
        found = measured_devices(study, devices or (cores if here else 8))
    elif utilisation is None:
        found = devices_as_measured(device or "a100", devices or 8, study)
    else:
        found = stated_devices(device or "a100", devices or 8, utilisation, study)
    if as_json:
        record = plan_as_record(study, found, diff, price_per_hour)
        if laws_of is not None:
            from dit_scaling.plan.reach import reach_of_study, reach_record

            reach, other = reach_of_study(study, laws_of)
            record["reach"] = reach_record(reach, study.training.batch_size) | {"from": str(laws_of), "other": other}
        if chances:
            from dataclasses import asdict

            from dit_scaling.plan.chances import chances_record
            from dit_scaling.plan.family_chances import family_chances

            images = look_at(study.data)[0]
            record["chances"] = chances_record(study, images)
            record["family_chances"] = [asdict(chance) for chance in family_chances(study, images)]
        tell_json(record)
        return
    typer.echo(tell_plan(study, found, diff, price_per_hour))
    if laws_of is not None:
        from dit_scaling.plan.reach import tell_reach_of_study

        typer.echo(tell_reach_of_study(study, laws_of))
    if chances:
        from dit_scaling.plan.chances import describe_chances
        from dit_scaling.plan.family_chances import describe_family_chances

        images = look_at(study.data)[0]
        typer.echo("\n".join(["", *describe_chances(study, images), *describe_family_chances(study, images)]))
