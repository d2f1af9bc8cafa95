"""The Inception score, as ADM's evaluation suite defines it."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from dit_scaling.metrics.arrays import Array, feature_matrix
from dit_scaling.metrics.comparison import Comparison, Measure, Sizes

SPLITS = 10


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


def inception_score_of_features(
    features: NDArray[Any], weights: ArrayLike, splits: int = 10, order: NDArray[np.int64] | None = None
) -> InceptionScore:
    """`inception_score` of the logits ``features @ weights.T``, without bias as ADM's, one split in memory at a time.

    Args:
        features: (N, D) pooled Inception features; may be mapped from a file.
        weights: (classes, D) of the output layer.
        splits: as for `inception_score`.
        order: numbers of the images in the order in which they are cut into splits; None as they come.

    Raises:
        ValueError: shapes that don't fit, or more splits than images.
        UserError: a feature is NaN or infinite.
    """
    matrix = feature_matrix(weights, "weights").T
    return _mean_over_splits(
        feature_matrix(features[rows if order is None else order[rows]], first_row=rows.start) @ matrix
        for rows in _split_rows(len(features), splits)
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
    conditional = scipy.special.softmax(logits, axis=1)
    return float(np.exp(scipy.special.rel_entr(conditional, conditional.mean(axis=0)).sum(axis=1).mean()))


def _measure(comparison: Comparison) -> dict[str, float]:
    weights, features = comparison.samples.logit_weights, comparison.samples.features
    assert weights is not None
    found = inception_score_of_features(features, weights, min(SPLITS, len(features)))
    return {"inception_score": found.mean, "inception_score_sd": found.std}


def _cost(sizes: Sizes) -> float:
    """One product with the output layer of Inception's 1,008 classes."""
    return 1008.0 * sizes.images * sizes.dim


INCEPTION_SCORE = Measure(_measure, frozenset({"logits"}), _cost)
