"""Sums of power laws: y = E + sum_j A_j x_j^-a_j, fitted by Huber's loss of ln y from many starts.

One column without a floor E is a power law, one with it a power law with an irreducible part, and two (parameters and
training images) are the additive law of Hoffmann et al. 2022 (arXiv 2203.15556, equation 2).
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from dit_scaling.common.errors import UserError

Array = NDArray[np.float64]

HUBER = 0.01
"""Residual of ln y beyond which a point counts linearly: about the scatter of training seeds."""
SHARES = (0.02, 0.4, 0.8)
"""Of the smallest y, that a start gives to the floor."""
EXPONENTS = (0.1, 0.4, 1.0)
EVALUATIONS = 300
"""Of a fit: where data do not tell a number, its valley has no end."""
BOUNDS = {"ln floor": (-30.0, 3.0), "ln scale": (-30.0, 30.0), "exponent": (0.0, 8.0)}


@dataclass(frozen=True)
class SumLaw:
    """A fitted law; ``scales`` are the A_j at the columns' ``reference``, where its conditioning is good."""

    floor: float
    scales: tuple[float, ...]
    exponents: tuple[float, ...]
    reference: tuple[float, ...]
    residual: float
    """Root mean square of ln y."""

    def __call__(self, x: Array) -> Array:
        """y (n,) at ``x`` (n, columns)."""
        ratios = np.asarray(x, dtype=np.float64) / np.array(self.reference)
        terms = np.array(self.scales) * ratios ** -np.array(self.exponents)
        return np.asarray(self.floor + terms.sum(axis=1))

    @property
    def coefficients(self) -> tuple[float, ...]:
        """The A_j at x_j = 1, as papers state them."""
        columns = zip(self.scales, self.reference, self.exponents, strict=True)
        return tuple(scale * reference**exponent for scale, reference, exponent in columns)


def fit_sum_law(x: Array, y: Array, *, floor: bool, start: SumLaw | None = None) -> SumLaw:
    """Fit ``y`` (n,) at ``x`` (n, columns), all positive; from ``start`` alone where one is given.

    Raises:
        UserError: shapes differ, values are not positive and finite, or there are fewer points than parameters.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    columns = x.shape[1] if x.ndim == 2 else 0
    needed = 2 * columns + floor
    if columns == 0 or y.shape != x.shape[:1] or len(y) < needed:
        raise UserError(f"A law of {needed} numbers needs {needed} points or more, one y per x: got {len(y)}.")
    if not (np.isfinite(x).all() and np.isfinite(y).all() and (x > 0).all() and (y > 0).all()):
        raise UserError("A law needs positive, finite x and y. Leave out points without a measurement.")
    reference = np.exp(np.log(x).mean(axis=0))
    ln_ratios, ln_y = np.log(x / reference), np.log(y)

    def residuals(theta: Array) -> Array:
        return np.asarray(np.log(_value(theta, ln_ratios, floor)) - ln_y)

    def jacobian(theta: Array) -> Array:
        _, scales, exponents = _parts(theta, columns, floor)
        shares = scales * np.exp(-exponents * ln_ratios) / _value(theta, ln_ratios, floor)[:, None]
        rest = [1 - shares.sum(axis=1)] if floor else []
        return np.column_stack([shares, -ln_ratios * shares, *rest])

    low, high = (np.array(_limits(columns, floor, side)) for side in (0, 1))
    scale = float(np.log(y.mean()))
    firsts = _starts(columns, floor, y, scale) if start is None else [_theta(start, reference, floor)]
    fits = [
        least_squares(
            residuals,
            np.clip(first, low + 1e-6, high - 1e-6),
            jacobian,
            bounds=(low, high),
            loss="huber",
            f_scale=HUBER,
            max_nfev=EVALUATIONS,
        )
        for first in firsts
    ]
    best = min(fits, key=lambda fit: float(fit.cost)).x
    own, scales, exponents = _parts(best, columns, floor)
    return SumLaw(
        floor=own,
        scales=tuple(scales.tolist()),
        exponents=tuple(exponents.tolist()),
        reference=tuple(reference.tolist()),
        residual=float(np.sqrt(np.mean(residuals(best) ** 2))),
    )


def _value(theta: Array, ln_ratios: Array, floor: bool) -> Array:
    own, scales, exponents = _parts(theta, ln_ratios.shape[1], floor)
    return np.asarray(own + (scales * np.exp(-exponents * ln_ratios)).sum(axis=1))


def _parts(theta: Array, columns: int, floor: bool) -> tuple[float, Array, Array]:
    own = float(np.exp(theta[-1])) if floor else 0.0
    return own, np.exp(theta[:columns]), np.asarray(theta[columns : 2 * columns])


def _limits(columns: int, floor: bool, side: int) -> list[float]:
    limits = [BOUNDS["ln scale"][side]] * columns + [BOUNDS["exponent"][side]] * columns
    return [*limits, BOUNDS["ln floor"][side]] if floor else limits


def _starts(columns: int, floor: bool, y: Array, scale: float) -> list[Array]:
    shares = SHARES if floor else (0.0,)
    starts = []
    for share, exponents in product(shares, product(EXPONENTS, repeat=columns)):
        scales = [scale + np.log((1 - share) / columns)] * columns
        own = [float(np.log(share * y.min()))] if floor else []
        starts.append(np.array([*scales, *exponents, *own]))
    return starts


def _theta(law: SumLaw, reference: Array, floor: bool) -> Array:
    """Parameters of a fitted law about another reference."""
    moved = np.array(law.scales) * (reference / np.array(law.reference)) ** -np.array(law.exponents)
    own = [float(np.log(max(law.floor, 1e-12)))] if floor else []
    return np.array([*np.log(moved), *law.exponents, *own])
