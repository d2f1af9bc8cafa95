"""Inception score, and improved precision and recall, as ADM's evaluation suite defines them."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import rel_entr, softmax

from dit_scaling.metrics.arrays import Array, feature_matrix, feature_pair
from dit_scaling.metrics.neighbours import nearest_neighbours, squared_distance_blocks


class InceptionScore(NamedTuple):
    """Mean and population standard deviation over splits; between 1 and the number of classes."""

    mean: float
    std: float


def inception_score(logits: ArrayLike, splits: int = 10) -> InceptionScore:
    """exp of the mean KL divergence of p(y|x) from p(y), per split; Salimans et al. (arXiv 1606.03498), section 4.

    ADM takes Inception's logits without their bias: 50,000 images in 10 splits of 5,000, in the order in which they
    come. Images sorted by class would make every split poor in classes: mix them first.

    Args:
        logits: (N, classes). Logarithms of probabilities are logits, so ``np.log(p)`` serves for probabilities p > 0.
        splits: number of consecutive parts of equal size (to within one image), 1 <= splits <= N.

    Raises:
        ValueError: logits are no matrix, or more splits than images.
        UserError: a logit is NaN or infinite.
    """
    logits = feature_matrix(logits, "logits")
    if not 1 <= splits <= len(logits):
        raise ValueError(f"{len(logits)} images cannot be cut into {splits} splits.")
    bounds = [part * len(logits) // splits for part in range(splits + 1)]
    scores = [_split_score(logits[start:stop]) for start, stop in pairwise(bounds)]
    return InceptionScore(mean=float(np.mean(scores)), std=float(np.std(scores)))


def _split_score(logits: Array) -> float:
    """exp E_x KL(p(y|x) || p(y)) over the images of one split."""
    conditional = softmax(logits, axis=1)
    return float(np.exp(rel_entr(conditional, conditional.mean(axis=0)).sum(axis=1).mean()))


class PrecisionRecall(NamedTuple):
    """Shares in 0..1: of samples inside the reference's manifold, and of references inside the samples' manifold."""

    precision: float
    recall: float


def precision_recall(reference_features: ArrayLike, sample_features: ArrayLike, k: int = 3) -> PrecisionRecall:
    """Improved precision and recall, Kynkaanniemi et al. (arXiv 1904.06991), equations 1 to 3.

    A set's manifold is the union of the balls around its points that reach to their k-th nearest neighbour, the point
    itself not counted. Distances are float64 throughout (ADM's suite uses float16 products). Both shares depend on the
    two numbers of images (ADM: 10,000 references, 50,000 samples): compare only like with like.

    Args:
        reference_features: (R, D) of real images, R > k.
        sample_features: (S, D) of generated images, S > k.
        k: number of neighbours, >= 1; ADM's is 3.

    Raises:
        ValueError: shapes that don't fit, or no more than k images.
        UserError: a feature is NaN or infinite.
    """
    reference, sample = feature_pair(reference_features, sample_features, ("reference_features", "sample_features"))
    if not 1 <= k < min(len(reference), len(sample)):
        raise ValueError(
            f"k={k} neighbours: k must be at least 1 and less than the number of images, which are "
            f"{len(reference)} references and {len(sample)} samples."
        )
    return PrecisionRecall(
        precision=_share_inside(sample, reference, k),
        recall=_share_inside(reference, sample, k),
    )


def _share_inside(points: Array, manifold: Array, k: int) -> float:
    """Mean over ``points`` of f(point, manifold), equation 2: 1 inside any ball, else 0."""
    squared_radii = nearest_neighbours(manifold, manifold, k=k + 1).distance[:, -1] ** 2
    blocks = squared_distance_blocks(points, manifold)
    inside = sum(np.count_nonzero((squared <= squared_radii).any(axis=1)) for _, squared in blocks)
    return float(inside / len(points))
