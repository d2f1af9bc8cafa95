"""The Frechet distance of two sets of features, from their first two moments."""

import numpy as np
import scipy
from numpy.typing import ArrayLike

from dit_scaling.metrics.arrays import Array

# Covariances stored in float32 have eigenvalues down to about -1e-7 of the largest; further below is no rounding.
_NEGATIVE_TOLERANCE = 1e-5
# Share of the distance that rounding in the quicker way to it may amount to.
_ROUNDING_TOLERANCE = 1e-6


def frechet_distance(mu1: ArrayLike, sigma1: ArrayLike, mu2: ArrayLike, sigma2: ArrayLike) -> float:
    """Squared Frechet (2-Wasserstein) distance of two Gaussians, Dowson & Landau (1982); FID on Inception features.

    ``|mu1 - mu2|^2 + tr(S1) + tr(S2) - 2 tr((S1 S2)^(1/2))``. With ``S = F F^T`` for both, the last trace is the sum of
    the singular values of ``F1^T F2``: no matrix root, no square roots of rounding errors where a covariance is
    singular (fewer images than dimensions, dead features). Where rounding cannot matter they are taken from the
    eigenvalues of ``F1^T S2 F1``, in half the time.

    Args:
        mu1, mu2: means, (D,).
        sigma1, sigma2: covariances, (D, D), symmetric positive semi-definite up to rounding.

    Returns:
        The distance, >= 0, in the features' unit squared. It is biased upwards at finite numbers of images: compare
        only distances from equally many.

    Raises:
        ValueError: shapes that don't fit, numbers that are not finite, or a matrix that is no covariance.
    """
    mu1, mu2 = np.asarray(mu1, dtype=np.float64), np.asarray(mu2, dtype=np.float64)
    sigma1, sigma2 = np.asarray(sigma1, dtype=np.float64), np.asarray(sigma2, dtype=np.float64)
    if mu1.ndim != 1 or mu1.shape != mu2.shape:
        raise ValueError(f"Means must be two vectors of one length, not of the shapes {mu1.shape} and {mu2.shape}.")
    if sigma1.shape != mu1.shape * 2 or sigma2.shape != mu1.shape * 2:
        raise ValueError(
            f"Covariances of {len(mu1)} features must be {len(mu1)} x {len(mu1)}, "
            f"not of the shapes {sigma1.shape} and {sigma2.shape}."
        )
    if not all(np.isfinite(array).all() for array in (mu1, mu2, sigma1, sigma2)):
        raise ValueError("A mean or covariance holds NaN or infinity.")
    return frechet_from_factors(mu1, covariance_factor(sigma1), mu2, covariance_factor(sigma2))


def frechet_from_factors(mu1: Array, factor1: Array, mu2: Array, factor2: Array) -> float:
    """`frechet_distance` of covariances ``F F^T`` given by ``factor1`` (D, r1) and ``factor2`` (D, r2)."""
    offset, product = mu1 - mu2, factor1.T @ factor2
    apart = float(offset @ offset + np.sum(factor1**2) + np.sum(factor2**2))
    squares = scipy.linalg.eigvalsh(product @ product.T, check_finite=False).clip(min=0.0)
    roots = np.sqrt(squares)
    distance = apart - 2 * float(roots.sum())
    # A square is known to about this, its root s then to twice this / (s + its root), whatever s.
    rounding = np.sqrt(len(squares)) * np.finfo(np.float64).eps * squares.max(initial=np.finfo(np.float64).tiny)
    if 4 * float((rounding / (roots + np.sqrt(rounding))).sum()) <= _ROUNDING_TOLERANCE * distance:
        return distance
    return max(0.0, apart - 2 * float(scipy.linalg.svdvals(product).sum()))


def covariance_factor(sigma: Array) -> Array:
    """Return F (D, r) with ``F F^T = sigma``: Cholesky's, or from eigenvectors where ``sigma`` is singular.

    Raises:
        ValueError: an eigenvalue is negative beyond rounding.
    """
    symmetric = (sigma + sigma.T) / 2
    try:
        return np.asarray(scipy.linalg.cholesky(symmetric, lower=True, check_finite=False))
    except np.linalg.LinAlgError:
        values, vectors = scipy.linalg.eigh(symmetric, check_finite=False)
    if values[0] < -_NEGATIVE_TOLERANCE * max(values[-1], 0.0):
        raise ValueError(
            f"Not a covariance: its eigenvalues range from {values[0]:.3g} to {values[-1]:.3g}, none may be negative."
        )
    kept = values > len(values) * np.finfo(np.float64).eps * values[-1]
    return np.asarray(vectors[:, kept] * np.sqrt(values[kept]))
