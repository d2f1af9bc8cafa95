"""How far a Frechet distance would move with other generated images: the bootstrap."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dit_scaling.metrics.arrays import Array, feature_matrix
from dit_scaling.metrics.frechet import covariance_factor, frechet_distance, frechet_from_factors


class BootstrapResult(NamedTuple):
    """Uncertainty of a Frechet distance, in its unit.

    Attributes:
        standard_error: standard deviation (ddof=1) of the distance over resamples.
        bias: mean of the distance over resamples, less the distance itself; usually positive.
        low, high: 2.5% and 97.5% quantiles over resamples, moved by -bias so that they lie about the distance; >= 0.
    """

    standard_error: float
    bias: float
    low: float
    high: float


def bootstrap_frechet(
    features: ArrayLike, reference_mu: ArrayLike, reference_sigma: ArrayLike, *, resamples: int, seed: int
) -> BootstrapResult:
    """Bootstrap the Frechet distance of generated images from fixed reference moments.

    The images are drawn again with replacement, as weights from a multinomial. A Frechet distance is biased upwards at
    finite N, since noise in the moments is a distance too, and a resample adds that noise once more: resamples don't
    lie about the distance but above it. Therefore only their spread is used, for standard error and interval; their
    offset is reported as the bias and corrects nothing.

    The standard error is right where the distance is large beside its bias, and too large, at most about twofold, where
    the distance is little but bias (measured on Gaussians, tests/test_bootstrap.py). It is that of sampling alone:
    the reference and the training seed are not in it.

    Args:
        features: (N, D) of generated images, N >= 2.
        reference_mu: (D,).
        reference_sigma: (D, D).
        resamples: number of resamples, >= 2; each costs N D^2 multiply-adds and a few D^3.
        seed: of the resampling.

    Raises:
        ValueError: shapes that don't fit, too few images or resamples, or a reference that is no covariance.
        UserError: a feature is NaN or infinite.
    """
    features = feature_matrix(features)
    if len(features) < 2 or resamples < 2:
        raise ValueError(f"{resamples} resamples of {len(features)} images: both must be at least 2.")
    count = len(features)
    mean = features.mean(axis=0)
    centred = features - mean
    distance = frechet_distance(mean, centred.T @ centred / (count - 1), reference_mu, reference_sigma)

    offset = np.asarray(reference_mu, dtype=np.float64) - mean
    factor = covariance_factor(np.asarray(reference_sigma, dtype=np.float64))
    rng = np.random.default_rng(seed)
    values = np.empty(resamples)
    for resample in range(resamples):
        weights = rng.multinomial(count, np.full(count, 1 / count))
        shift, sigma = weighted_moments(centred, weights.astype(np.float64))
        values[resample] = frechet_from_factors(shift, covariance_factor(sigma), offset, factor)
    bias = float(values.mean()) - distance
    low, high = np.quantile(values, [0.025, 0.975]) - bias
    return BootstrapResult(
        standard_error=float(values.std(ddof=1)), bias=bias, low=max(0.0, float(low)), high=max(0.0, float(high))
    )


def weighted_moments(features: Array, weights: Array) -> tuple[Array, Array]:
    """Mean and unbiased covariance of ``features`` whose row i occurs ``weights[i]`` times; weights sum to N."""
    count = len(features)
    mean = weights @ features / count
    # Subtracting the mean's outer product instead would leave a covariance of rounding where all rows are one image.
    scaled = (features - mean) * np.sqrt(weights)[:, None]
    return mean, scaled.T @ scaled / (count - 1)
