"""From checks to one of three verdicts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dit_scaling.protocol.preflight.check import Check

Status = Literal["on track", "undertrained for this budget", "broken"]


@dataclass(frozen=True)
class GateVerdict:
    """``reason`` is one sentence."""

    status: Status
    reason: str


def judge(faults: Sequence[Check], samples: Check, step: int, budget: int) -> GateVerdict:
    """*Broken* where a check fails that no healthy run fails; else the samples decide.

    Samples that look like noise while nothing else is wrong are a matter of training: before the end of the budget the
    run is on track, as far as can be told; at its end it is undertrained.

    Args:
        faults: checks that a healthy run passes at any step.
        samples: whether the samples are told apart from decoded noise.
        step: of this gate.
        budget: last step of the run.
    """
    failed = [check for check in faults if not check.passed]
    if failed:
        first = failed[0]
        others = f" ({len(failed) - 1} more checks fail)" if len(failed) > 1 else ""
        reason = f"{first.name} is {first.value}, expected {first.expected}: {first.meaning}{others}."
        return GateVerdict("broken", reason)
    near = f"{samples.value} of the samples are nearer to data than to decoded noise"
    if samples.passed:
        return GateVerdict("on track", f"no fault found, and {near}.")
    if step < budget:
        return GateVerdict("on track", f"no fault found, but only {near} yet, at {step / budget:.0%} of the budget.")
    return GateVerdict(
        "undertrained for this budget",
        f"no fault found, but after all {budget:,} steps only {near}: train longer, or this model is too small for its "
        "patches.",
    )
