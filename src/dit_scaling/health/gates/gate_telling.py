"""What a gate tells the loggers of its run: the verdict, how near each check was to its limit, and samples."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import write_json
from dit_scaling.config.stages import GateSettings
from dit_scaling.health.gates.gate import Gate
from dit_scaling.health.gates.gate_verdict import STATUSES
from dit_scaling.sampling.images import write_grid
from dit_scaling.training.loggers import LoggedRun, LogProcess, Shown, logged, run_of

COLUMNS = 8
WIDTH = 64
"""Pixels to which smaller samples are enlarged, by whole factors."""

log = logging.getLogger(__name__)


@contextmanager
def telling(settings: GateSettings, results: Path, names: Sequence[str]) -> Iterator[Callable[[Gate], None]]:
    """Start the loggers of a gate's run, which takes seconds, and give what tells them the gate, at its step.

    Files lie in the study's ``results``; whatever fails is a warning. Values are ``gate/verdict``, 0 for on track, 1
    for undertrained and 2 for broken, and ``gate/margin/CHECK`` of each check that has a margin, as a share of its
    limit, below zero beyond it.
    """
    run = run_of(settings.training, results, None)
    with logged(names, run) as loggers:
        yield lambda gate: _tell(gate, settings.step, run, loggers)


def _tell(gate: Gate, step: int, run: LoggedRun, loggers: Sequence[LogProcess]) -> None:
    if not loggers:
        return
    record = Path(run.folder, "gates", run.name, f"step-{step}.json")
    picture, width = record.with_suffix(".png"), gate.samples.shape[2]
    margins = {f"gate/margin/{check.name}": check.margin for check in gate.checks if check.margin is not None}
    shown = Shown(
        step=step,
        values={"gate/verdict": STATUSES.index(gate.verdict.status), **margins},
        texts={"gate/reason": f"{gate.verdict.status}: {gate.verdict.reason}"},
        pictures={"gate/samples": picture.name},
    )
    try:
        write_grid(picture, gate.samples, COLUMNS, max(1, WIDTH // width))
        write_json(record, asdict(shown))
    except (OSError, UserError) as error:
        log.warning("The gate is not logged: %s", error)
        return
    for logger in loggers:
        logger.show(record)
