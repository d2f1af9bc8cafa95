"""Nearest neighbours in feature space, block by block: memory grows with N, never with N^2."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dit_scaling.metrics.arrays import Array, feature_pair, row_chunks

BLOCK_BYTES = 64 * 2**20
PER_PAIR = 600
"""What is done to a squared distance that is searched or compared, in multiply-adds of its product."""


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The k nearest references of every query, nearest first.

    Attributes:
        index: (queries, k) int64, rows of the references.
        distance: (queries, k) float64, Euclidean, exactly 0 for a copy.
    """

    index: NDArray[np.int64]
    distance: Array


def nearest_neighbours(queries: ArrayLike, references: ArrayLike, *, k: int = 1) -> Neighbours:
    """Find the k nearest references of every query by exhaustive search.

    A query that is itself among the references finds itself: ask for k + 1 and drop it.

    Args:
        queries: (Q, D).
        references: (R, D).
        k: 1 <= k <= R.

    Raises:
        ValueError: shapes that don't fit, or k outside its range.
        UserError: a feature is NaN or infinite.
    """
    queries, references = feature_pair(queries, references, ("queries", "references"))
    if not 1 <= k <= len(references):
        raise ValueError(f"The {k} nearest of {len(references)} references: k must be from 1 to their number.")
    index = np.empty((len(queries), k), dtype=np.int64)
    distance = np.empty((len(queries), k))
    for rows, block in squared_distance_blocks(queries, references):
        nearest = np.argpartition(block, k - 1, axis=1)[:, :k]
        # The blocks' subtraction of large norms costs digits; the few distances that are kept are worth doing again.
        exact = np.linalg.norm(references[nearest] - queries[rows, None], axis=2)
        order = np.argsort(exact, axis=1, kind="stable")
        index[rows] = np.take_along_axis(nearest, order, axis=1)
        distance[rows] = np.take_along_axis(exact, order, axis=1)
    return Neighbours(index, distance)


def squared_distance_blocks(queries: Array, references: Array) -> Iterator[tuple[slice, Array]]:
    """Yield (rows of ``queries``, their squared distances to all ``references``) in blocks of about 64 MiB.

    ``|q|^2 + |r|^2 - 2 q.r``, which is one matrix product; what is within its rounding of 0 is set to 0, so that copies
    are at distance 0.
    """
    dim = references.shape[1]
    centre = references.mean(axis=0)
    references = references - centre
    reference_norms = np.einsum("nd,nd->n", references, references)
    rounding = dim * np.finfo(np.float64).eps
    step = max(1, BLOCK_BYTES // (8 * (len(references) + dim)))
    for start in range(0, len(queries), step):
        rows = slice(start, min(start + step, len(queries)))
        block = queries[rows] - centre
        norms = np.einsum("nd,nd->n", block, block)[:, None] + reference_norms
        squared = norms - 2 * (block @ references.T)
        squared[squared < rounding * norms] = 0.0
        yield rows, squared


def squared_radii(features: NDArray[Any], k: int) -> Array:
    """(N,) squared distance of each point to its k-th nearest neighbour, the point itself not counted."""
    return squared_to_nearest(features, k)[:, k - 1]


def squared_to_nearest(features: NDArray[Any], k: int) -> Array:
    """(N, k) squared distances of each point to its k nearest neighbours, nearest first, the point itself not counted.

    Infinite where there are fewer.
    """
    nearest = np.full((len(features), k + 1), np.inf)
    for rows, _, squared in squared_distances(features, features):
        squared.partition(min(k, squared.shape[1] - 1), axis=1)
        nearest[rows] = np.sort(np.hstack([nearest[rows], squared[:, : k + 1]]), axis=1)[:, : k + 1]
    return nearest[:, 1:]


def squared_distances(queries: NDArray[Any], references: NDArray[Any]) -> Iterator[tuple[slice, slice, Array]]:
    """Yield (rows of ``queries``, rows of ``references``, their squared distances) until all pairs are through."""
    for outer, some in row_chunks(queries):
        for columns, others in row_chunks(references):
            for inner, squared in squared_distance_blocks(some, others):
                yield slice(outer.start + inner.start, outer.start + inner.stop), columns, squared
