"""What a budget buys, by the laws of a finished study: size, steps, loss and distance, and how far beyond the data."""

import math
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import canonical_json, read_json
from dit_scaling.config.laws_settings import FLOPS_PER_GFLOP
from dit_scaling.config.stages import ReportSettings
from dit_scaling.config.study import Study
from dit_scaling.laws.frontier import LEVEL, Frontier, Interval, fit_frontier
from dit_scaling.laws.laws_table import one_series, read_laws_table
from dit_scaling.laws.next_runs import NextRuns, best_next_runs, width
from dit_scaling.laws.study_laws import budget_grid, gflops_by_size
from dit_scaling.losses.loss_names import HEADLINE
from dit_scaling.metrics.catalogue import HEADLINE as DISTANCE
from dit_scaling.metrics.catalogue import parse_column
from dit_scaling.plan.command import plan_study
from dit_scaling.plan.price import Devices, devices_as_measured
from dit_scaling.variants import count_gflops

FARTHEST = 100.0
"""Budgets beyond the largest fitted, over it, and the smallest over those below it, at which nothing is predicted."""


@dataclass(frozen=True)
class Reach:
    """The best use of a budget of training compute."""

    flops: float
    size: Interval
    gflops: float
    steps: float
    loss: Interval
    distance: tuple[str, Interval] | str
    """Column and value; or why there is none."""
    beyond: float
    """The budget over the largest one fitted,"""
    below: float
    """and over the smallest."""
    next_runs: NextRuns
    series: str
    """What the laws are of, and what the table has beside it; empty where it has nothing else."""


def read_study(results: Path) -> Study:
    """The study whose results these are, as its table was made.

    Raises:
        UserError: the folder holds no record of a study's settings, or one of another version.
    """
    for name in ("losses-provenance.json", "provenance.json"):
        record = results / name
        if record.is_file():
            try:
                study = read_json(record)["settings"]["study"]
                return ReportSettings.parse(canonical_json({"study": study})).study
            except (KeyError, TypeError, ValidationError):
                raise UserError(
                    f"{record} is of another version. Run the study's config again with this one."
                ) from None
    raise UserError(f"{results} holds no record of a study's settings. Give results/STUDY of a finished study.")


def parse_budget(text: str) -> tuple[float, str]:
    """A number of device-hours, ``300`` or ``300h``, or of training FLOPs, ``1e18flops``, and its unit.

    Raises:
        UserError: it is neither.
    """
    number = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?"
    match = re.fullmatch(rf"({number})\s*(h|hours|flops)?", text.strip().lower())
    if match is None or not 0 < float(match[1]) < math.inf:
        raise UserError(f"--budget {text}: give device-hours, as 300, or training FLOPs, as 1e18flops.")
    return float(match[1]), "flops" if match[2] == "flops" else "hours"


def flops_per_hour(device: str, study: Study) -> float:
    """Training FLOPs that one device does in an hour, at the rate of the study's largest variant.

    Raises:
        UserError: no such device, or the study cannot be planned.
    """
    return 3600 * training_rate(devices_as_measured(device, 1, study), study)


def training_rate(devices: Devices, study: Study) -> float:
    """FLOPs a second of one device in training the study's largest variant."""
    jobs = [job for job in plan_study(study).jobs if job.stage == "train"]
    largest = max(jobs, key=lambda job: job.multiply_adds / max(1, job.images))
    return 2 * largest.multiply_adds / devices.seconds(replace(largest, measures=None))


def reach_of(results: Path, flops: float, batch_size: int, family: str | None = None) -> Reach:
    """What a budget buys by the laws of a study, those of a ``family`` as `one_series` chooses.

    Raises:
        UserError: the study's results do not tell a frontier, or the budget is more than ``FARTHEST`` times theirs (the
            message names the runs to make first), or they are as much more than it.
    """
    table = read_laws_table(results)
    if HEADLINE not in table.columns:
        raise UserError(f"{results}: its table has no held-out losses. Run its config again with this version.")
    series = one_series(table, family)
    table = series.rows
    fitted = table[table["role"] != "predict"]
    frontier = fit_frontier(budget_grid(fitted, HEADLINE))
    beyond = flops / frontier.largest
    if beyond > FARTHEST:
        raise UserError(
            f"{flops:.3g} FLOPs are {beyond:,.0f} times the largest budget measured, {frontier.largest:.3g}; nothing "
            f"is predicted beyond {FARTHEST:.0f} times. What would narrow the answer most: "
            f"{best_next_runs(frontier, flops).what}."
        )
    below = flops / frontier.smallest
    if below < 1 / FARTHEST:
        raise UserError(
            f"{flops:.3g} FLOPs are {below:.2g} times the smallest budget measured, {frontier.smallest:.3g}; nothing "
            f"is predicted below {1 / FARTHEST:g} times."
        )
    size, loss = frontier.predict(flops)
    factor, exponent = gflops_by_size(table)
    gflops = factor * size.value**exponent
    return Reach(
        flops=flops,
        size=size,
        gflops=gflops,
        steps=flops / (FLOPS_PER_GFLOP * gflops * batch_size),
        loss=loss,
        distance=_distance(fitted, flops),
        beyond=beyond,
        below=below,
        next_runs=best_next_runs(frontier, flops),
        series=series.told,
    )


def describe_reach(reach: Reach, batch_size: int) -> str:
    """The reach in words."""
    place = "within the budgets measured"
    if reach.beyond > 1:
        place = f"{reach.beyond:.3g} times the largest measured"
    elif reach.below < 1:
        place = f"{reach.below:.3g} times the smallest measured"
    distance = (
        f"No distance: {reach.distance}"
        if isinstance(reach.distance, str)
        else f"Distance {reach.distance[0]}: {_span(reach.distance[1])}."
    )
    return "\n".join(
        [
            *([reach.series] if reach.series else []),
            f"Budget: {reach.flops:.3g} training FLOPs, {place}. Intervals: {LEVEL:.0%}.",
            f"Best size: {_span(reach.size)} parameters, about {reach.gflops:.3g} Gflops.",
            f"Steps at that size: {reach.steps:,.0f} of batch {batch_size}.",
            f"Held-out loss: {_span(reach.loss)}.",
            distance,
            f"What would narrow the loss most: {reach.next_runs.what}; from +-{width(reach.loss):.2%} to "
            f"+-{reach.next_runs.width:.2%}.",
        ]
    )


def reach_record(reach: Reach, batch_size: int) -> dict[str, Any]:
    """The reach as plain values; ``distance`` is ``{"refused": reason}`` where there is none."""
    if isinstance(reach.distance, str):
        distance: dict[str, Any] = {"refused": reach.distance}
    else:
        distance = {"column": reach.distance[0], **asdict(reach.distance[1])}
    return {
        "flops": reach.flops,
        "times_largest": reach.beyond,
        "times_smallest": reach.below,
        "level": LEVEL,
        "size": asdict(reach.size),
        "gflops": reach.gflops,
        "steps": reach.steps,
        "batch_size": batch_size,
        "loss": asdict(reach.loss),
        "distance": distance,
        "next_runs": {"runs": reach.next_runs.what, "half_width": reach.next_runs.width},
        "half_width": width(reach.loss),
        "series": reach.series,
    }


def reach_of_study(study: Study, results: Path) -> tuple[Reach, list[str]]:
    """What the dearest run of a study can reach by the laws of another's ``results``, and in what the two differ.

    Raises:
        UserError: as `reach_of`.
    """
    channels, batch = study.vae.latent_channels, study.training.batch_size
    gflops = {name: count_gflops(study.variant(name), study.latent_size, channels) for name in study.trained}
    dearest = max(FLOPS_PER_GFLOP * each * batch * study.exports(name)[-1] for name, each in gflops.items())
    source = read_study(results)
    parts = {"data": "data", "vae": "autoencoder", "diffusion": "noise schedule"}
    other = [told for name, told in parts.items() if getattr(study, name) != getattr(source, name)]
    other += ["recipe"] if study.training.recipe != source.training.recipe else []
    return reach_of(results, dearest, batch), other


def tell_reach_of_study(study: Study, results: Path) -> str:
    """`reach_of_study` in words."""
    reach, other = reach_of_study(study, results)
    doubt = f" They are of another {', '.join(other)} than this study's, and taken to hold." if other else ""
    told = describe_reach(reach, study.training.batch_size)
    return f"\nThe dearest run, by the laws of {results}.{doubt}\n{told}"


def _distance(table: pd.DataFrame, flops: float) -> tuple[str, Interval] | str:
    columns = [
        str(name)
        for name in table.columns
        if (found := parse_column(str(name))) and found.metric == DISTANCE and not found.aside
    ]
    if not columns:
        return "the study measured none."
    try:
        frontier: Frontier = fit_frontier(budget_grid(table, columns[0]))
    except UserError as error:
        return str(error)
    return columns[0], frontier.predict(flops)[1]


def _span(interval: Interval) -> str:
    return f"{interval.value:.4g} [{interval.low:.4g}, {interval.high:.4g}]"
