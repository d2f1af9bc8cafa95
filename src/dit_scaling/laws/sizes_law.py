"""A law over sizes and patches at equal steps: ln FID on ln size, ln patch and their product; the points choose."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from dit_scaling.common.errors import UserError
from dit_scaling.laws.frontier import LEVEL, Interval

Array = NDArray[np.float64]


def _column(table: pd.DataFrame, name: str) -> Array:
    return np.asarray(np.log(table[name].to_numpy(dtype=float)))


FORMS: Mapping[str, Callable[[pd.DataFrame], list[Array]]] = {
    "Gflops": lambda table: [_column(table, "gflops")],
    "size + patch": lambda table: [_column(table, "params_m"), _column(table, "patch")],
    "size x patch": lambda table: [
        _column(table, "params_m"),
        _column(table, "patch"),
        _column(table, "params_m") * _column(table, "patch"),
    ],
}
"""What ln FID is straight in, beside a constant."""
FEWEST_LEFT = 2
"""Points beyond a form's numbers: fewer tell no residual."""


@dataclass(frozen=True)
class SizesLaw:
    """A fitted form; ``left_out`` is the error of ln FID by which it was chosen, over the fitted points."""

    form: str
    left_out: float
    residual: float
    df: int
    _coefficients: Array
    _covariance: Array

    def predict(self, row: pd.DataFrame, noise: float = 0.0) -> Interval:
        """The FID of one row that was not fitted, by Student's t with the residual, or ``noise`` where that is more."""
        design = _design(self.form, row)[0]
        centre = float(design @ self._coefficients)
        sd = max(self.residual, noise)
        reach = (
            float(stats.t.isf((1 - LEVEL) / 2, self.df)) * sd * math.sqrt(1 + float(design @ self._covariance @ design))
        )
        return Interval(math.exp(centre), math.exp(centre - reach), math.exp(centre + reach))


def fit_sizes(table: pd.DataFrame, metric: str = "fid50k") -> SizesLaw:
    """Choose the form that predicts each fitted point best from the others, and fit it to all of them.

    Args:
        table: params_m, patch, gflops and ``metric``, all at equal steps.
        metric: a distance.

    Raises:
        UserError: there are too few points for any form.
    """
    errors = {form: _left_out(form, table, metric) for form in FORMS}
    possible = {form: error for form, error in errors.items() if error is not None}
    if not possible:
        raise UserError(f"{len(table)} points are too few for a law over sizes: give five or more.")
    form = min(possible, key=lambda name: possible[name])
    design, ln_y = _design(form, table), _column(table, metric)
    inverse = np.linalg.pinv(design)
    coefficients = inverse @ ln_y
    df = len(ln_y) - design.shape[1]
    residual = float(np.sqrt(np.sum((ln_y - design @ coefficients) ** 2) / df))
    return SizesLaw(form, possible[form], residual, df, coefficients, inverse @ inverse.T)


def _left_out(form: str, table: pd.DataFrame, metric: str) -> float | None:
    """Root mean square error of ln FID of each point by the others; None where they are too few or do not tell it."""
    design, ln_y = _design(form, table), _column(table, metric)
    if len(ln_y) < design.shape[1] + FEWEST_LEFT or np.linalg.matrix_rank(design) < design.shape[1]:
        return None
    hat = design @ np.linalg.pinv(design)
    free = 1 - np.diag(hat)
    if (free < 1e-9).any():
        return None
    return float(np.sqrt(np.mean(((ln_y - hat @ ln_y) / free) ** 2)))


def _design(form: str, table: pd.DataFrame) -> Array:
    return np.column_stack([np.ones(len(table)), *FORMS[form](table)])
