"""Inception score, and improved precision and recall, as ADM's evaluation suite defines them."""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import rel_entr, softmax

from dit_scaling.metrics.arrays import Array, feature_matrix, row_chunks, stored_pair
from dit_scaling.metrics.neighbours import squared_distance_blocks


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
    return _mean_over_splits(logits[rows] for rows in _split_rows(len(logits), splits))


def inception_score_of_features(features: NDArray[Any], weights: ArrayLike, splits: int = 10) -> InceptionScore:
    """`inception_score` of the logits ``features @ weights.T``, without bias as ADM's, one split in memory at a time.

    Args:
        features: (N, D) pooled Inception features; may be mapped from a file.
        weights: (classes, D) of the output layer.
        splits: as for `inception_score`.

    Raises:
        ValueError: shapes that don't fit, or more splits than images.
        UserError: a feature is NaN or infinite.
    """
    matrix = feature_matrix(weights, "weights").T
    return _mean_over_splits(
        feature_matrix(features[rows], first_row=rows.start) @ matrix for rows in _split_rows(len(features), splits)
    )


def _split_rows(count: int, splits: int) -> list[slice]:
    if not 1 <= splits <= count:
        raise ValueError(f"{count} images cannot be cut into {splits} splits.")
    bounds = [part * count // splits for part in range(splits + 1)]
    return [slice(start, stop) for start, stop in pairwise(bounds)]


def _mean_over_splits(logits: Iterable[Array]) -> InceptionScore:
    scores = [_split_score(part) for part in logits]
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
    itself not counted. Distances are float64 throughout (ADM's suite uses float16 products), a block of pairs in memory
    at a time. Both shares depend on the two numbers of images (ADM: 10,000 references, 50,000 samples): compare only
    like with like.

    Args:
        reference_features: (R, D) of real images, R > k; may be mapped from a file.
        sample_features: (S, D) of generated images, S > k; may be mapped from a file.
        k: number of neighbours, >= 1; ADM's is 3.

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
    reference_radii, sample_radii = _squared_radii(reference, k), _squared_radii(sample, k)
    sample_inside, reference_inside = np.zeros(len(sample), dtype=bool), np.zeros(len(reference), dtype=bool)
    for rows, columns, squared in _squared_distances(sample, reference):
        # f of equation 2, for both manifolds at once.
        sample_inside[rows] |= (squared <= reference_radii[columns]).any(axis=1)
        reference_inside[columns] |= (squared <= sample_radii[rows, None]).any(axis=0)
    return PrecisionRecall(precision=float(sample_inside.mean()), recall=float(reference_inside.mean()))


def _squared_radii(features: NDArray[Any], k: int) -> Array:
    """(N,) squared distance of each point to its k-th nearest neighbour, the point itself not counted."""
    nearest = np.full((len(features), k + 1), np.inf)
    for rows, _, squared in _squared_distances(features, features):
        nearest[rows] = np.partition(np.hstack([nearest[rows], squared]), k, axis=1)[:, : k + 1]
    return nearest[:, k]


def _squared_distances(queries: NDArray[Any], references: NDArray[Any]) -> Iterator[tuple[slice, slice, Array]]:
    """Yield (rows of ``queries``, rows of ``references``, their squared distances) until all pairs are through."""
    for outer, some in row_chunks(queries):
        for columns, others in row_chunks(references):
            for inner, squared in squared_distance_blocks(some, others):
                yield slice(outer.start + inner.start, outer.start + inner.stop), columns, squared
