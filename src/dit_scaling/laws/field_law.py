"""Does Gflops explain FID, within a published family and across families at equal steps?

Within a family ln FID is fitted straight in ln Gflops. Across families three nested models are compared by F tests: one
line for all, lines of one slope with an offset for each family, and lines of each family's own.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from dit_scaling.claims.fits import PowerLawFit, fit_power_law
from dit_scaling.common.errors import UserError
from dit_scaling.paper.published import reproduction_spread

Array = NDArray[np.float64]

REFERENCE = "DiT"
LEVEL = 0.95
FEWEST = 3


@dataclass(frozen=True)
class Offset:
    """FID of a family over that of DiT at equal Gflops, with an interval."""

    family: str
    ratio: float
    low: float
    high: float


@dataclass(frozen=True)
class FieldLaw:
    """All families with known Gflops at equal steps."""

    families: tuple[str, ...]
    models: int
    exponent: float
    """Of the common line: ln FID on ln Gflops."""
    r_squared: float
    """Of ln FID, by one line for all."""
    residual: float
    """Standard deviation of ln FID about that line; published reproductions differ by ``spread``."""
    spread: float
    p_offsets: float
    """That all families lie on one line, by F; against offsets of their own."""
    r_squared_offsets: float
    p_slopes: float
    """That all slopes are one, given offsets."""
    offsets: tuple[Offset, ...]


def fit_family(table: pd.DataFrame) -> PowerLawFit | None:
    """The law of one family in Gflops; None with fewer than three models of known Gflops."""
    known = table.dropna(subset=["gflops"])
    return fit_power_law(known["gflops"], known["fid50k"]) if len(known) >= FEWEST else None


def fit_field(table: pd.DataFrame) -> FieldLaw:
    """Pool families of ``FEWEST`` or more models of known Gflops.

    Args:
        table: family, gflops and fid50k, at equal steps.

    Raises:
        UserError: fewer than two such families, or DiT is not among them.
    """
    known = table.dropna(subset=["gflops"])
    known = known[known.groupby("family")["family"].transform("size") >= FEWEST]
    names = [REFERENCE, *sorted(set(known["family"]) - {REFERENCE})]
    if len(names) < 2 or REFERENCE not in set(known["family"]):
        raise UserError("A law over families needs DiT and another, of three or more models with Gflops each.")
    ln_g, ln_fid = (np.log(known[column].to_numpy(dtype=float)) for column in ("gflops", "fid50k"))
    ln_g = ln_g - ln_g.mean()
    members = np.column_stack([known["family"] == name for name in names]).astype(float)
    one = np.column_stack([np.ones(len(known)), ln_g])
    offset = np.column_stack([members, ln_g])
    own = np.column_stack([members, members * ln_g[:, None]])
    fits = [_least_squares(design, ln_fid) for design in (one, offset, own)]
    total = float(np.sum((ln_fid - ln_fid.mean()) ** 2))
    return FieldLaw(
        families=tuple(names),
        models=len(known),
        exponent=float(fits[0][0][1]),
        r_squared=1 - fits[0][1] / total,
        residual=float(np.sqrt(fits[0][1] / (len(known) - 2))),
        spread=reproduction_spread().sd,
        p_offsets=_f_test(fits[0][1], fits[1][1], one, offset),
        r_squared_offsets=1 - fits[1][1] / total,
        p_slopes=_f_test(fits[1][1], fits[2][1], offset, own),
        offsets=tuple(_offsets(names, offset, *fits[1])),
    )


def _least_squares(design: Array, y: Array) -> tuple[Array, float]:
    """Coefficients and the sum of squares left over."""
    coefficients = np.linalg.lstsq(design, y, rcond=None)[0]
    return np.asarray(coefficients, dtype=np.float64), float(np.sum((y - design @ coefficients) ** 2))


def _f_test(fewer: float, more: float, smaller: Array, larger: Array) -> float:
    added, df = larger.shape[1] - smaller.shape[1], len(larger) - larger.shape[1]
    return float(stats.f.sf((fewer - more) / added / (more / df), added, df))


def _offsets(names: list[str], design: Array, coefficients: Array, left: float) -> list[Offset]:
    df = len(design) - design.shape[1]
    covariance = left / df * np.linalg.inv(design.T @ design)
    t = float(stats.t.isf((1 - LEVEL) / 2, df))
    found = []
    for place, name in enumerate(names[1:], start=1):
        difference = float(coefficients[place] - coefficients[0])
        error = float(np.sqrt(covariance[place, place] + covariance[0, 0] - 2 * covariance[place, 0]))
        low, high = np.exp([difference - t * error, difference + t * error])
        found.append(Offset(name, float(np.exp(difference)), float(low), float(high)))
    return found
