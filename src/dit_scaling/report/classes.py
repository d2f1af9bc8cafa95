"""The report's reading of class accuracy: do samples show the class that they were made for?"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import read_json
from dit_scaling.common.words import listing, span
from dit_scaling.metrics.catalogue import metric
from dit_scaling.paper.deviations import Level
from dit_scaling.report.measurements import Measurements
from dit_scaling.report.style import order_variants

RECOGNISED = 0.5
"""Share of images of their class, over those right by chance, under which they are said not to show it."""


@dataclass(frozen=True)
class ClassesView:
    """One line on all variants: green, or amber where most samples of one show no class."""

    level: Level
    sentence: str


def view_classes(measured: Measurements, levels: Path, classes: int, short: Mapping[str, str]) -> ClassesView | None:
    """Class accuracy of the final samples, mean over seeds; None where no classifier of two or more classes gave it.

    Samples come through the autoencoder, so that the accuracy on its reconstructions is the most that they can reach.
    Variants are named where less than ``RECOGNISED`` of the samples show their class: distances between them order
    failures. ``short`` are the names of variants in sentences.

    Raises:
        UserError: ``levels`` has no reconstructions.
    """
    column = metric("class_accuracy").column_on(measured.features)
    names = order_variants(measured.final)["variant"]
    rows = measured.rows[measured.rows["step"] == measured.final["step"].iloc[0]]
    if classes < 2 or column not in rows.columns or rows[column].isna().any():
        return None
    try:
        best = float(read_json(levels)["levels"]["reconstructions"][column])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{levels} lacks the class accuracy of reconstructions ({error!r}). Rerun rule levels."
        ) from None
    chance = 1 / classes
    if best < _accuracy(RECOGNISED, chance, 1.0):
        return ClassesView(
            "amber",
            f"The classifier recognises too few reconstructions ({best:.0%}, {chance:.0%} by chance) to tell whether "
            "samples show their class.",
        )
    accuracy = rows.groupby("variant")[column].mean()
    missed = [name for name in names if accuracy[name] < _accuracy(RECOGNISED, chance, best)]
    shares = span(f"{accuracy.min():.0%}", f"{accuracy.max():.0%}")
    beside = f"{best:.0%} of reconstructions do, {chance:.0%} by chance"
    if missed:
        return ClassesView(
            "amber",
            f"Most samples of {listing([short[name] for name in missed])} do not show the class they were made for "
            f"(over all variants {shares}; {beside}). Distances between such variants order failures.",
        )
    who = "every variant" if len(names) > 1 else short[names.iloc[0]]
    return ClassesView("green", f"{shares} of the samples of {who} show their class ({beside}).")


def _accuracy(share: float, chance: float, best: float) -> float:
    """Of images of which a share shows its class and reaches ``best``; the others are right by chance."""
    return share * best + (1 - share) * chance
