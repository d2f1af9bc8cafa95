"""The checks before and during training as the page shows them."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import read_json
from dit_scaling.common.words import count, listing
from dit_scaling.health.check import Check, describe_margin, nearest
from dit_scaling.paper.deviations import Level
from dit_scaling.report.table import Column, Table, number, words


@dataclass(frozen=True)
class PreflightView:
    """All checks, and one line on them: green where all passed, red where one failed."""

    level: Level
    sentence: str
    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.passed)


def view_preflight(path: Path) -> PreflightView:
    """The record that the preflight stage wrote.

    Raises:
        UserError: it is missing, or no such record.
    """
    try:
        checks = tuple(Check(**check) for check in read_json(path)["checks"])
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is no record of checks ({error}). Run: snakemake --forcerun preflight.") from None
    failed = sum(not check.passed for check in checks)
    if failed:
        return PreflightView("red", f"{failed} of {count(len(checks), 'check')} failed before training.", checks)
    return PreflightView("green", f"{count(len(checks), 'check')} of the way from images to samples passed.", checks)


def tabulate_checks(checks: Sequence[Check]) -> Table:
    """All checks; none where nothing is trained."""
    columns = (
        words("check", "name"),
        words("value"),
        words("expected"),
        Column(
            "margin",
            lambda row: describe_margin(None if pd.isna(row["margin"]) else row["margin"]),
            sort=lambda row: row["margin"],
            narrow=False,
        ),
        Column("outcome", lambda row: "passed" if row["passed"] else "failed", words=True),
        words("a failure usually means", "meaning", narrow=False),
    )
    return Table("preflight", pd.DataFrame(checks, columns=[field.name for field in fields(Check)]), columns)


@dataclass(frozen=True)
class GateView:
    """The outcome of one gate."""

    variant: str
    seed: int
    step: int
    status: str
    reason: str
    nearest: str
    """The check that is nearest to its limit, or farthest beyond it, and its margin; empty where none has one."""
    page: str
    """Where its page lies, seen from the report."""


@dataclass(frozen=True)
class GatesView:
    """All gates, and one line on them: red where a run is broken, amber where one is undertrained."""

    level: Level
    sentence: str
    gates: tuple[GateView, ...]

    @property
    def broken(self) -> tuple[GateView, ...]:
        """The first gate that found each broken run so."""
        first: dict[tuple[str, int], GateView] = {}
        for gate in self.gates:
            if gate.status == "broken":
                first.setdefault((gate.variant, gate.seed), gate)
        return tuple(first.values())


def view_gates(paths: Sequence[Path], output: Path, names: Mapping[str, str]) -> GatesView:
    """The records that the gates wrote, by variant, seed and step.

    Args:
        paths: of the records.
        output: the report.
        names: of variants in sentences.

    Raises:
        UserError: one is missing, or no such record.
    """
    gates = tuple(sorted((_view_gate(path, output) for path in paths), key=lambda g: (g.variant, g.seed, g.step)))
    runs = {(gate.variant, gate.seed): gate for gate in gates}  # the last of each run
    undertrained = [gate.variant for gate in runs.values() if gate.status.startswith("undertrained")]
    view = GatesView("green", f"No fault was found in {count(len(runs), 'run')} at {count(len(gates), 'gate')}.", gates)
    if not gates:
        return GatesView("amber", "Gates are off: nobody looked at the runs while they trained.", gates)
    if view.broken:
        verb = "is" if len(view.broken) == 1 else "are"
        return GatesView("red", f"{len(view.broken)} of {count(len(runs), 'run')} {verb} broken.", gates)
    if undertrained:
        which = listing([names.get(name, name) for name in dict.fromkeys(undertrained)])
        said = f"Undertrained for this budget: {count(len(undertrained), 'run')} of {len(runs)}, of {which}."
        return GatesView("amber", said, gates)
    return view


def tabulate_gates(gates: Sequence[GateView]) -> Table:
    """All gates; none where they are off."""
    columns = (
        words("variant"),
        number("seed"),
        number("step"),
        Column("verdict", lambda row: row["status"], words=True, link=lambda row: row["page"]),
        words("reason", narrow=False),
        words("nearest to its limit", "nearest", narrow=False),
    )
    return Table("gates", pd.DataFrame(gates, columns=[field.name for field in fields(GateView)]), columns)


def _view_gate(path: Path, output: Path) -> GateView:
    record = read_json(path)
    try:
        check = nearest([Check(**check) for check in record["checks"]])
        margin = f"{check.name}: {describe_margin(check.margin)}" if check else ""
        page = os.path.relpath(path.with_name(record["page"]), output.parent)
        variant, seed, step = record["variant"], record["seed"], record["step"]
        return GateView(variant, seed, step, record["status"], record["reason"], margin, page)
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is no record of a gate ({error}). Delete it and run snakemake again.") from None
