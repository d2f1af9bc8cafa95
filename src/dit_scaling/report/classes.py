"""The report's reading of class accuracy: do samples show the class that they were made for?"""

from dataclasses import dataclass
from pathlib import Path

from dit_scaling.errors import UserError
from dit_scaling.files import read_json
from dit_scaling.protocol.table import Level
from dit_scaling.report.measurements import Measurements
from dit_scaling.report.numbers import describe_number
from dit_scaling.report.style import order_variants

RECOGNISED = 0.5
"""Share of samples of their class under which a variant is named."""


@dataclass(frozen=True)
class ClassesView:
    """One line on all variants: green, or amber where most samples of one show no class."""

    level: Level
    sentence: str


def view_classes(measured: Measurements, lines: Path, classes: int) -> ClassesView | None:
    """Class accuracy of the final samples, mean over seeds; None where the features are of no classifier of the data.

    If a share s of the samples show their class as the autoencoder's reconstructions do, and the others are classified
    by chance, the accuracy is s r + (1 - s) / ``classes``, with r that of the reconstructions. Variants with s below
    ``RECOGNISED`` are named: distances between them order failures.

    Raises:
        UserError: ``lines`` has no reconstructions.
    """
    column = f"class_accuracy_{measured.metric.removeprefix('fd_')}"
    names = order_variants(measured.final)["variant"]
    rows = measured.rows[measured.rows["step"] == measured.final["step"].iloc[0]]
    if column not in rows.columns or rows[column].isna().any():
        return None
    try:
        best = float(read_json(lines)["lines"]["reconstructions"][column])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{lines} lacks the class accuracy of reconstructions ({error!r}). Rerun rule reference."
        ) from None
    chance = 1 / classes
    accuracy = rows.groupby("variant")[column].mean()
    least = chance + RECOGNISED * (best - chance)
    missed = [name for name in names if accuracy[name] < least]
    lowest, highest = describe_number(accuracy.min()), describe_number(accuracy.max())
    found = f"accuracy {lowest}" if len(names) == 1 else f"accuracy {lowest} to {highest}"
    beside = f"{describe_number(best)} on reconstructions, {describe_number(chance)} by chance"
    if missed:
        return ClassesView(
            "amber",
            f"Most samples of {', '.join(missed)} do not show the class that they were made for ({found}; {beside}). "
            "Distances between such variants order failures.",
        )
    return ClassesView(
        "green", f"Most samples of every variant show the class that they were made for ({found}; {beside})."
    )
