"""Improved precision and recall, as ADM's evaluation suite defines them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dit_scaling.metrics.arrays import Array, stored_pair
from dit_scaling.metrics.comparison import Comparison, Measure, Sizes
from dit_scaling.metrics.neighbours import PER_PAIR, squared_distances, squared_radii


class PrecisionRecall(NamedTuple):
    """Shares in 0..1: of samples inside the reference's manifold, and of references inside the samples' manifold."""

    precision: float
    recall: float


def precision_recall(
    reference_features: ArrayLike, sample_features: ArrayLike, k: int = 3, reference_radii: Array | None = None
) -> PrecisionRecall:
    """Improved precision and recall, Kynkaanniemi et al. (arXiv 1904.06991), equations 1 to 3.

    A set's manifold is the union of the balls around its points that reach to their k-th nearest neighbour, the point
    itself not counted. Distances are float64 throughout (ADM's suite uses float16 products), a block of pairs in memory
    at a time. Both shares depend on the two numbers of images (ADM: 10,000 references, 50,000 samples): compare only
    like with like.

    Args:
        reference_features: (R, D) of real images, R > k; may be mapped from a file.
        sample_features: (S, D) of generated images, S > k; may be mapped from a file.
        k: number of neighbours, >= 1; ADM's is 3.
        reference_radii: (R,) ``squared_radii`` of the references at ``k``, where they are known.

    Raises:
        ValueError: shapes that don't fit, or no more than k images.
        UserError: a feature is NaN or infinite.
    """
    reference, sample = stored_pair(reference_features, sample_features, ("reference_features", "sample_features"))
    if not 1 <= k < min(len(reference), len(sample)):
        raise ValueError(
            f"k={k} neighbours: k must be at least 1 and less than the number of images, which are "
            f"{len(reference)} references and {len(sample)} samples."
        )
    sample_radii = squared_radii(sample, k)
    reference_radii = squared_radii(reference, k) if reference_radii is None else reference_radii
    sample_inside, reference_inside = np.zeros(len(sample), dtype=bool), np.zeros(len(reference), dtype=bool)
    for rows, columns, squared in squared_distances(sample, reference):
        # f of equation 2, for both manifolds at once.
        sample_inside[rows] |= (squared <= reference_radii[columns]).any(axis=1)
        reference_inside[columns] |= (squared <= sample_radii[rows, None]).any(axis=0)
    return PrecisionRecall(precision=float(sample_inside.mean()), recall=float(reference_inside.mean()))


def _measure(comparison: Comparison) -> dict[str, float]:
    real, k = comparison.reference, comparison.scoring.neighbours
    found = precision_recall(real.features, comparison.samples.features, k, real.squared_radii(k))
    return {"precision": found.precision, "recall": found.recall}


def _cost(sizes: Sizes) -> float:
    """Distances within both sets and between them."""
    return (float(sizes.images) ** 2 + sizes.real**2 + sizes.images * sizes.real) * (sizes.dim + PER_PAIR)


PRECISION_RECALL = Measure(_measure, frozenset({"reference images"}), _cost)
