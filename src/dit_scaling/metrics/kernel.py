"""The kernel distance of two sets of features, on subsets of them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dit_scaling.metrics.arrays import Array, feature_matrix, stored_pair
from dit_scaling.metrics.comparison import Comparison, Measure, Sizes


class KernelDistance(NamedTuple):
    """Mean and population standard deviation over subsets, which overlap: ``std`` is no standard error of ``mean``."""

    mean: float
    std: float


def kernel_distance(
    features1: ArrayLike, features2: ArrayLike, *, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> KernelDistance:
    """Unbiased squared MMD with the kernel ``(x.y / D + 1)^3``: KID on Inception features (arXiv 1801.01401).

    Both sets are drawn from anew, without replacement, for every subset; the same seed gives the same draws.

    Args:
        features1, features2: (N1, D) and (N2, D); may be mapped from files, only subsets are read into memory.
        subsets: number of subsets, >= 1.
        subset_size: images of either set in a subset, 2 <= subset_size <= min(N1, N2).
        seed: of the draws.

    Returns:
        The plain value, without the factor of 100 or 1000 that tables often carry. Being unbiased it is slightly
        negative about half the time when the distributions are equal, and its mean doesn't depend on N.

    Raises:
        ValueError: shapes that don't fit, or subsets larger than the sets.
        UserError: a feature is NaN or infinite.
    """
    first, second = stored_pair(features1, features2, ("features1", "features2"))
    if subsets < 1 or not 2 <= subset_size <= min(len(first), len(second)):
        raise ValueError(
            f"{subsets} subsets of {subset_size} cannot be drawn from {len(first)} and {len(second)} images: "
            "there must be at least 1 subset of at least 2 images, and no more images in it than in the smaller set."
        )
    rng = np.random.default_rng(seed)
    values = [
        _squared_mmd(
            feature_matrix(first[rng.choice(len(first), subset_size, replace=False)]),
            feature_matrix(second[rng.choice(len(second), subset_size, replace=False)]),
        )
        for _ in range(subsets)
    ]
    return KernelDistance(mean=float(np.mean(values)), std=float(np.std(values)))


def _squared_mmd(x: Array, y: Array) -> float:
    """Unbiased estimate of MMD^2 for sets of equal size m >= 2: equation 4 of Binkowski et al."""
    m = len(x)
    within_x, within_y = _polynomial_kernel(x, x), _polynomial_kernel(y, y)
    within = within_x.sum() - np.trace(within_x) + within_y.sum() - np.trace(within_y)
    return float(within / (m * (m - 1)) - 2 * _polynomial_kernel(x, y).mean())


def _polynomial_kernel(x: Array, y: Array) -> Array:
    """(x.y / D + 1)^3 of every pair of rows; written as products because numpy's integer power is slow."""
    base = x @ y.T / x.shape[1] + 1
    return np.asarray(base * base * base)


def _measure(comparison: Comparison) -> dict[str, float]:
    real, made, scoring = comparison.reference.features, comparison.samples.features, comparison.scoring
    found = kernel_distance(
        real,
        made,
        subsets=scoring.kid_subsets,
        subset_size=min(scoring.kid_subset_size, len(made), len(real)),
        seed=scoring.seed,
    )
    return {"kid": found.mean, "kid_sd": found.std}


def _cost(sizes: Sizes) -> float:
    """Three products of a subset's images with each other or with those of the other set."""
    return 3.0 * sizes.scoring.kid_subsets * min(sizes.scoring.kid_subset_size, sizes.images) ** 2 * sizes.dim


KERNEL = Measure(_measure, frozenset({"reference images"}), _cost)
