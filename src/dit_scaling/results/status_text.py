"""The status of a study, for a terminal and for programs."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from dit_scaling.common.colour import coloured
from dit_scaling.common.progress import describe_seconds
from dit_scaling.results.gate_findings import BROKEN
from dit_scaling.results.status import Run, StudyStatus

HEADS = ("variant", "seed", "state", "gate", "step", "loss", "steps/s", "time left", "sampled", "features", "scored")
LINE = "{:<16}{:>5}  {:<17}{:<14}{:>19}{:>9}{:>9}{:>13}{:>9}{:>10}{:>9}"


def describe_status(status: StudyStatus, results: Path) -> str:
    """The status as lines for a terminal."""
    shared = {name: "done" if done else "waiting" for name, done in status.shared.items()}
    if "aggregate" in status.shared:  # a study for laws has no report
        shared["report"] = "done" if status.reported else "of other settings" if status.outdated else "waiting"
    return "\n".join(
        [
            f"Study {status.study} in {results}",
            ", ".join(f"{name} {state}" for name, state in shared.items()),
            "",
            LINE.format(*HEADS),
            *(_line(run) for run in status.runs),
            *(coloured(found.warning, "red", sys.stdout) for found in status.broken),
            *(f"Failed: {job.output} ({job.rule}): {job.failure}. Its log: {job.log}" for job in status.failures),
        ]
    )


def status_json(status: StudyStatus) -> str:
    """The status as JSON."""
    plain = asdict(status)
    plain["failures"] = [job.model_dump() | {"failure": job.failure} for job in status.failures]
    return json.dumps(plain, indent=2, default=str)


def _line(run: Run) -> str:
    """A run as a line of the table, red where it is broken."""
    line = LINE.format(
        run.variant,
        run.seed,
        run.state if run.state == "done" else f"{run.state}: {run.stage}",
        # "undertrained for this budget" is too wide for a column.
        (run.gate or "").removesuffix(" for this budget"),
        f"{run.step:,} of {run.steps:,}",
        "" if run.loss is None else f"{run.loss:.4f}",
        "" if run.steps_per_second is None else f"{run.steps_per_second:.3g}",
        "" if run.seconds_left is None else describe_seconds(run.seconds_left),
        "{} of {}".format(*run.sampled),
        "{} of {}".format(*run.extracted),
        "{} of {}".format(*run.scored),
    )
    return coloured(line, "red", sys.stdout) if run.gate == BROKEN else line
