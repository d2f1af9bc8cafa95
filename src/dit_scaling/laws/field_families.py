"""What the published figures of one family of models say: larger against smaller, and its law in Gflops."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from dit_scaling.common.errors import UserError
from dit_scaling.laws.field_law import LEVEL, fit_family, fit_field
from dit_scaling.paper.field import at_equal_steps, families
from dit_scaling.paper.published import Spread, reproduction_spread

ALL = "all"
Order = Literal["Gflops", "parameters", "the source's order"]


@dataclass(frozen=True)
class Larger:
    """A model against the next smaller one: one run each, so that the scatter of reproductions is assumed."""

    model: str
    fid50k: float
    smaller: str
    smaller_fid50k: float
    p: float
    """One-sided, that the larger is no better."""


@dataclass(frozen=True)
class FamilyLaw:
    """FID ~ Gflops^exponent with an interval of ``LEVEL``."""

    exponent: float
    low: float
    high: float
    r_squared: float
    models: int


@dataclass(frozen=True)
class Family:
    """A published family; ``order`` is None where no two of its models have equal steps, resolution and guidance."""

    name: str
    models: int
    sources: tuple[str, ...]
    marks: dict[str, int]
    """Figures that were seen in their source, and collected from a copy."""
    order: Order | None
    larger: tuple[Larger, ...]
    law: FamilyLaw | None
    """None where too few models have known Gflops."""


def find_families(name: str) -> list[Family]:
    """The family of that name, or those of ``ALL``.

    Raises:
        UserError: there is no such family.
    """
    known = list(dict.fromkeys(families()["family"]))
    found = known if name == ALL else [family for family in known if family.lower() == name.lower()]
    if not found:
        raise UserError(f"--published {name}: choose {ALL} or one of {', '.join(known)}.")
    return [_family(family) for family in found]


def published_record(name: str) -> dict[str, Any]:
    """All of a family, or of ``ALL`` and across them, as plain values.

    Raises:
        UserError: there is no such family.
    """
    return {
        "level": LEVEL,
        "spread": asdict(reproduction_spread()),
        "families": [asdict(family) for family in find_families(name)],
        "across": asdict(fit_field(at_equal_steps())) if name == ALL else None,
    }


def _family(name: str) -> Family:
    rows, equal = (table[table["family"] == name] for table in (families(), at_equal_steps()))
    order: Order | None = None
    if len(equal) >= 2:
        columns: dict[str, Order] = {"gflops": "Gflops", "params_m": "parameters"}
        by = next((column for column in columns if equal[column].notna().all()), None)
        order = columns[by] if by else "the source's order"
        equal = equal.sort_values(by) if by else equal
    return Family(
        name=name,
        models=len(rows),
        sources=tuple(dict.fromkeys(rows["source"])),
        marks={str(mark): int(count) for mark, count in rows["mark"].value_counts().items()},
        order=order,
        larger=tuple(_larger(equal, reproduction_spread())) if order else (),
        law=_law(equal) if order and order != "the source's order" else None,
    )


def _larger(rows: pd.DataFrame, spread: Spread) -> Iterator[Larger]:
    for (_, smaller), (_, larger) in pairwise(rows.iterrows()):
        difference = float(np.log(larger["fid50k"] / smaller["fid50k"]))
        p = float(stats.t.cdf(difference / (spread.sd * np.sqrt(2)), spread.df))
        yield Larger(larger["model"], float(larger["fid50k"]), smaller["model"], float(smaller["fid50k"]), p)


def _law(rows: pd.DataFrame) -> FamilyLaw | None:
    fit = fit_family(rows)
    if fit is None:
        return None
    reach = float(stats.t.isf((1 - LEVEL) / 2, fit.n - 2)) * fit.b_error
    return FamilyLaw(fit.b, fit.b - reach, fit.b + reach, fit.r_squared or 0.0, fit.n)
