"""Are samples copies of training images? Distances to training and to held-out images, compared in two ways.

All distances are Euclidean. On pixels, copies that are shifted, mirrored or recoloured are not found.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from dit_scaling.metrics.arrays import Array
from dit_scaling.metrics.neighbours import Neighbours, nearest_neighbours

LEVEL = 0.95


def stream_nearest(queries: Array, chunks: Iterable[Array]) -> Neighbours:
    """The nearest reference of each of ``queries`` (Q, D), with references that come in chunks (R_i, D).

    Returns:
        ``index`` counts through the chunks in their order; both arrays are (Q, 1).

    Raises:
        ValueError: shapes that don't fit, or no chunk.
    """
    index, distance, seen = np.zeros((len(queries), 1), dtype=np.int64), np.full((len(queries), 1), np.inf), 0
    for chunk in chunks:
        found = nearest_neighbours(queries, chunk)
        nearer = found.distance < distance
        index[nearer], distance[nearer] = found.index[nearer] + seen, found.distance[nearer]
        seen += len(chunk)
    if seen == 0:
        raise ValueError("No references to search.")
    return Neighbours(index, distance)


@dataclass(frozen=True)
class CopyingTest:
    """Distances of samples to the training set beside those of held-out images to it.

    The three-sample test of Meehan, Chaudhuri and Dasgupta (2020, arXiv 2004.05675), on one cell: ``z`` is the standard
    score of Mann and Whitney's U, negative where samples are nearer to the training set than unseen images are;
    ``closer`` is the chance that a sample is nearer than a held-out image, 0.5 where both are alike. It says more than
    copying: blurred or simple samples are near to everything, garbled ones far from everything.
    """

    z: float
    closer: float


def copying_test(samples: Array, held_out: Array) -> CopyingTest:
    """Compare distances to the training set: of samples (S,) and of held-out images (H,)."""
    pairs = len(samples) * len(held_out)
    u = float(stats.mannwhitneyu(samples, held_out).statistic)
    z = (u - pairs / 2) / math.sqrt(pairs * (len(samples) + len(held_out) + 1) / 12)
    return CopyingTest(z=z, closer=1 - u / pairs)


@dataclass(frozen=True)
class HeldOutShare:
    """Share of samples whose nearest image is a held-out one, with all training and held-out images in one pool.

    ``expected`` is the held-out images' share of the pool; ``low`` and ``high`` bound the ``LEVEL`` interval.
    """

    share: float
    expected: float
    low: float
    high: float


def held_out_share(to_training: Neighbours, to_held_out: Neighbours, training: int, held_out: int) -> HeldOutShare:
    """How often the held-out images are the nearest of all.

    Where nothing is copied, training and held-out images are exchangeable to the samples, whatever these look like:
    with k_i the number of samples that image i is the nearest of, the held-out images' sum of k_i is that of a random
    draw of H from the pool of N = R + H. Its mean is S H / N and its variance H R / (N - 1) Var(k), exactly. If a share
    c of the samples are copies, the mean falls to (1 - c) S H / N.

    Args:
        to_training: the training image nearest to each of S samples.
        to_held_out: the held-out image nearest to each; a tie counts as nearer to this one.
        training: number R of training images searched, >= 1.
        held_out: number H of held-out images, >= 1.
    """
    nearer = to_held_out.distance[:, 0] <= to_training.distance[:, 0]
    nearest = np.where(nearer, training + to_held_out.index[:, 0], to_training.index[:, 0])
    counts, pool = np.bincount(nearest, minlength=training + held_out), training + held_out
    error = math.sqrt(held_out * training / (pool - 1) * float(counts.var())) / len(nearest)
    reach = float(stats.norm.isf((1 - LEVEL) / 2)) * error
    share = float(nearer.mean())
    return HeldOutShare(share, held_out / pool, max(0.0, share - reach), min(1.0, share + reach))
