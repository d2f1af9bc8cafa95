"""The record of a gate, as the jobs after it read it."""

from pathlib import Path

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import read_json


def refuse_if_broken(record: Path) -> None:
    """Stop here where the gate of an earlier step found the run broken.

    Raises:
        UserError: the gate's verdict is *broken*; the message gives its reason, its page and the way on.
    """
    gate = read_json(record)
    if gate["status"] == "broken":
        raise UserError(
            f"{gate['variant']} seed {gate['seed']} was stopped by the gate at step {gate['step']}: {gate['reason']} "
            f"The page {record.with_name(gate['page'])} shows it. Its state is kept: to continue, set gates: "
            "warn in the config."
        )
