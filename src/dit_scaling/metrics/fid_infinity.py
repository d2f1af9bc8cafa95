"""The Frechet distance extrapolated to infinitely many samples: FID-infinity on Inception's features."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from dit_scaling.metrics.arrays import Array, row_chunks
from dit_scaling.metrics.blocks import choose_blocks, fewest_images
from dit_scaling.metrics.comparison import Comparison, Measure, Sizes
from dit_scaling.metrics.frechet import covariance_factor, frechet_from_factors
from dit_scaling.metrics.moments import RunningMoments


class Extrapolation(NamedTuple):
    """The distance at infinitely many samples, in the features' unit squared; may be negative by its error."""

    value: float
    standard_error: float
    """Jackknife over the blocks, ``blocks - 1`` degrees of freedom."""
    blocks: int


@dataclass(frozen=True, eq=False)
class _Factored:
    """A reference as every distance needs it."""

    mean: Array
    factor: Array

    def distance(self, moments: RunningMoments) -> float:
        return frechet_from_factors(moments.mean, covariance_factor(moments.covariance), self.mean, self.factor)


def extrapolate_frechet(
    features: NDArray[np.float32], reference_mu: ArrayLike, reference_sigma: ArrayLike, *, seed: int
) -> Extrapolation:
    """Fit the Frechet distance of N samples as a + b / N and give a, as Chong & Forsyth (arXiv 1911.07023).

    A distance from N samples is biased upwards by about b / N, and b depends on the model: models compared at one N are
    compared with different biases. The samples are shuffled and cut into blocks. For every divisor m of the number of
    blocks, the point at 1 / N = m / (all samples) is the mean over m disjoint subsets, where the publication draws one
    subset at random: so each point sees every sample once, and what the fit adds is little more than the bias that it
    takes away. Points weigh 1 / m, as their variances are about in proportion to m.

    The standard error is the jackknife's: the fit again without each block. The bias from finitely many reference
    images stays in.

    Args:
        features: (N, D) of generated images, at least `fewest_images` of D; may be mapped from a file.
        reference_mu: (D,).
        reference_sigma: (D, D).
        seed: of the shuffle.

    Raises:
        ValueError: too few images, shapes that don't fit, or a reference that is no covariance.
        UserError: a feature is NaN or infinite.
    """
    count, dim = features.shape
    blocks = choose_blocks(count, dim)
    if blocks is None:
        raise ValueError(f"{count} images of {dim} features cannot be extrapolated: {fewest_images(dim)} are needed.")
    mean = np.asarray(reference_mu, dtype=np.float64)
    reference = _Factored(mean, covariance_factor(np.asarray(reference_sigma, dtype=np.float64)))
    moments = [
        _moments(features, rows) for rows in np.array_split(np.random.default_rng(seed).permutation(count), blocks)
    ]
    levels = [m for m in range(1, blocks + 1) if blocks % m == 0]
    # The distance of every subset, and the blocks in it.
    subsets = {
        m: [(set(part.tolist()), reference.distance(_merged(moments, part))) for part in np.split(np.arange(blocks), m)]
        for m in levels
    }
    value = _intercept(levels, [float(np.mean([distance for _, distance in subsets[m]])) for m in levels], count)
    without = []
    for block in range(blocks):
        rest = reference.distance(_merged(moments, np.delete(np.arange(blocks), block)))
        points = [rest] + [
            float(np.mean([distance for part, distance in subsets[m] if block not in part])) for m in levels[1:]
        ]
        sizes = [blocks / (blocks - 1), *levels[1:]]
        without.append(_intercept(sizes, points, count))
    spread = np.var(without) * (blocks - 1)
    return Extrapolation(value, float(spread**0.5), blocks)


def _moments(features: NDArray[np.float32], rows: NDArray[np.int64]) -> RunningMoments:
    """Moments of some of the samples, read in the order of the file."""
    moments, rows = RunningMoments(features.shape[1]), np.sort(rows)
    for _, some in row_chunks(features[rows]):
        moments.update(some)
    return moments


def _merged(moments: list[RunningMoments], part: NDArray[np.int64]) -> RunningMoments:
    whole = RunningMoments(len(moments[0].mean))
    for block in part:
        whole.merge(moments[block])
    return whole


def _intercept(sizes: list[float] | list[int], distances: list[float], count: int) -> float:
    """Where the weighted line through distances at ``1 / N = size / count`` meets 0."""
    inverse = np.array(sizes, dtype=np.float64)
    _, value = np.polyfit(inverse / count, distances, 1, w=inverse**-0.5)
    return float(value)


def half_width(standard_error: float, blocks: int) -> float:
    """Half of the 95% interval of an extrapolation: Student's t of ``blocks - 1`` degrees of freedom."""
    return float(scipy.stats.t.ppf(0.975, blocks - 1)) * standard_error


def _measure(comparison: Comparison) -> dict[str, float]:
    known, scoring = comparison.reference.moments, comparison.scoring
    found = extrapolate_frechet(comparison.samples.features, known.mean, known.covariance, seed=scoring.seed)
    return {"fd_infinity": found.value, "fd_infinity_se": found.standard_error}


def _cost(sizes: Sizes) -> float:
    """Moments once, and a distance for each subset and for each block left out."""
    blocks = choose_blocks(sizes.images, sizes.dim) or 0
    subsets = sum(m for m in range(1, blocks + 1) if blocks % m == 0) + blocks
    return sizes.images * sizes.dim**2 + subsets * 3.0 * sizes.dim**3 if blocks else 0.0


FRECHET_AT_INFINITY = Measure(_measure, frozenset({"images to extrapolate"}), _cost)
