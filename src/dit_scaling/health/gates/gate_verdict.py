"""From checks to one of three verdicts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from dit_scaling.common.words import count
from dit_scaling.health.check import Check

Status = Literal["on track", "undertrained for this budget", "broken"]
STATUSES: tuple[Status, ...] = get_args(Status)
"""From the best to the worst."""


@dataclass(frozen=True)
class GateVerdict:
    """``reason`` is one sentence."""

    status: Status
    reason: str


def judge(
    faults: Sequence[Check], enough: Sequence[Check], step: int, budget: int, named: Sequence[Check] = ()
) -> GateVerdict:
    """*Broken* where a check fails that no healthy run fails; else the samples decide, and at the end the loss too.

    Samples that look like noise while nothing else is wrong are a matter of training: before the end of the budget the
    run is on track, as far as can be told; at its end it is undertrained. So is one that ends while it learns fast.

    Args:
        faults: checks that a healthy run passes at any step.
        enough: checks that it passes once it has trained for long enough: whether the samples are told apart from
            decoded noise; at the end of the budget, where the log has enough lines, whether learning has slowed down.
        step: of this gate.
        budget: last step of the run.
        named: checks whose failure is told, and changes no verdict: overfitting.
    """
    verdict = _judge(faults, enough, step, budget)
    told = [
        f" {check.name} is {check.value}, expected {check.expected}: {check.meaning}."
        for check in named
        if not check.passed
    ]
    return GateVerdict(verdict.status, verdict.reason + "".join(told))


def _judge(faults: Sequence[Check], enough: Sequence[Check], step: int, budget: int) -> GateVerdict:
    failed = [check for check in faults if not check.passed]
    if failed:
        first = failed[0]
        others = f" ({count(len(failed) - 1, 'more failed check')})" if len(failed) > 1 else ""
        reason = f"{first.name} is {first.value}, expected {first.expected}: {first.meaning}{others}."
        return GateVerdict("broken", reason)
    samples, *slow = enough
    near = f"the share of samples nearer to data than to decoded noise is {samples.value}"
    if samples.passed and all(check.passed for check in slow):
        return GateVerdict("on track", f"no fault found, and {near}.")
    if step < budget:
        return GateVerdict("on track", f"no fault found, but {near} so far, at {step / budget:.0%} of the budget.")
    if samples.passed:
        return GateVerdict(
            "undertrained for this budget",
            f"no fault found, and {near}, but the error of the second half of all {budget:,} steps is "
            f"{slow[0].value} of that of the first tenth: the budget ends while this run still learns fast.",
        )
    return GateVerdict(
        "undertrained for this budget",
        f"no fault found, but after all {budget:,} steps {near}: train longer, or this model is too small for its "
        "patches.",
    )
