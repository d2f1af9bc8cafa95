"""Power laws of a metric against Gflops or training compute, with bands from the fit."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from dit_scaling.common.errors import UserError


@dataclass(frozen=True)
class PowerLawFit:
    """Least squares of ln y = a + b ln x.

    ``residual_sd`` is that of ln y on ``n`` - 2 degrees of freedom, ``b_error`` the standard error of ``b``;
    ``r_squared`` is of ln y (None where all y are equal). ``x_min`` and ``x_max`` bound the data.
    """

    a: float
    b: float
    b_error: float
    r_squared: float | None
    residual_sd: float
    n: int
    x_min: float
    x_max: float
    mean_ln_x: float
    squares_ln_x: float

    def predict(self, x: ArrayLike, level: float = 0.95) -> pd.DataFrame:
        """The curve at ``x`` (positive), with two pointwise bands by Student's t at ``level``.

        Columns: x; y = exp(a + b ln x); mean_low, mean_high, where the curve itself lies: t s sqrt(1/n + d^2/S);
        low, high, where a new variant's y lies: t s sqrt(1 + 1/n + d^2/S); extrapolated, true outside the data's x.
        Here d = ln x - mean ln x, S = sum d_i^2. Extrapolated bands hold only as far as the power law does.

        Raises:
            UserError: an x is not positive and finite, or ``level`` is not between 0 and 1.
        """
        xs = np.atleast_1d(np.asarray(x, dtype=np.float64))
        if not (np.all(np.isfinite(xs)) and np.all(xs > 0)):
            raise UserError("A power law is predicted at positive, finite x only. Correct the compute asked for.")
        if not 0 < level < 1:
            raise UserError(f"level is {level}: give the confidence of the bands, between 0 and 1, for example 0.95.")
        centre = self.a + self.b * np.log(xs)
        leverage = 1 / self.n + (np.log(xs) - self.mean_ln_x) ** 2 / self.squares_ln_x
        t = float(stats.t.isf((1 - level) / 2, self.n - 2)) * self.residual_sd
        mean, new = t * np.sqrt(leverage), t * np.sqrt(1 + leverage)
        return pd.DataFrame(
            {
                "x": xs,
                "y": np.exp(centre),
                "mean_low": np.exp(centre - mean),
                "mean_high": np.exp(centre + mean),
                "low": np.exp(centre - new),
                "high": np.exp(centre + new),
                "extrapolated": (xs < self.x_min) | (xs > self.x_max),
            }
        )


def fit_power_law(x: ArrayLike, y: ArrayLike) -> PowerLawFit:
    """Fit y = exp(a) x^b by least squares of logarithms; ``x`` and ``y`` of shape (n,), n >= 3.

    Every point counts the same and scatters independently. Points of one training run at several steps do not.

    Raises:
        UserError: shapes differ, there are fewer than three points, a value is not positive and finite, or all x agree.
    """
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if xs.ndim != 1 or xs.shape != ys.shape or len(xs) < 3:
        raise UserError(f"A power law needs three points or more, one y per x: got shapes {xs.shape} and {ys.shape}.")
    if not (np.all(np.isfinite(xs)) and np.all(np.isfinite(ys)) and np.all(xs > 0) and np.all(ys > 0)):
        raise UserError("A power law needs positive, finite x and y. Leave out points without a measurement.")
    ln_x, ln_y = np.log(xs), np.log(ys)
    centred = ln_x - ln_x.mean()
    squares = float(np.sum(centred**2))
    if np.ptp(xs) == 0:
        raise UserError("A power law needs points at different x. Add variants or steps.")
    b = float(np.sum(centred * ln_y)) / squares
    a = float(ln_y.mean() - b * ln_x.mean())
    residual = float(np.sum((ln_y - a - b * ln_x) ** 2))
    total = float(np.sum((ln_y - ln_y.mean()) ** 2))
    sd = math.sqrt(residual / (len(xs) - 2))
    return PowerLawFit(
        a=a,
        b=b,
        b_error=sd / math.sqrt(squares),
        r_squared=1 - residual / total if np.ptp(ys) > 0 else None,
        residual_sd=sd,
        n=len(xs),
        x_min=float(xs.min()),
        x_max=float(xs.max()),
        mean_ln_x=float(ln_x.mean()),
        squares_ln_x=squares,
    )
