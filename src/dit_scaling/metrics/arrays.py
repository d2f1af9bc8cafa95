"""What every metric asks of its features: a finite float64 matrix, one image per row."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dit_scaling.common.errors import UserError

Array = NDArray[np.float64]

CHUNK = 5_000  # rows; 80 MB of 2048 features


def feature_matrix(features: ArrayLike, name: str = "features", first_row: int = 0) -> Array:
    """Return ``features`` as a float64 array (N, D) after checking that it is one.

    Args:
        features: (N, D) numbers, any real dtype; a CPU tensor without gradient will do.
        name: what the message calls them.
        first_row: number of images seen before row 0, so that a stream's message counts from its start.

    Raises:
        ValueError: not a matrix, or without columns.
        UserError: a feature is NaN or infinite; names the first such row.
    """
    matrix = np.asarray(features, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise ValueError(f"{name} must have the shape (images, dimensions), not {matrix.shape}.")
    finite_rows = np.isfinite(matrix).all(axis=1)
    if not finite_rows.all():
        row = first_row + int(np.argmin(finite_rows))
        raise UserError(
            f"{name} are not finite: row {row} (counted from 0) is the first with NaN or infinity, and "
            f"{np.count_nonzero(~finite_rows)} of {len(matrix)} rows are like it. Look at image {row} and at the "
            "extractor's weights; half-precision overflow is the usual cause."
        )
    return matrix


def feature_pair(first: ArrayLike, second: ArrayLike, names: tuple[str, str]) -> tuple[Array, Array]:
    """Check two feature matrices of one extractor.

    Raises:
        ValueError: not matrices, or with different numbers of columns.
        UserError: a feature is NaN or infinite.
    """
    a, b = feature_matrix(first, names[0]), feature_matrix(second, names[1])
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"{names[0]} have {a.shape[1]} dimensions and {names[1]} have {b.shape[1]}: "
            "they are not from the same extractor."
        )
    return a, b


def stored_pair(first: ArrayLike, second: ArrayLike, names: tuple[str, str]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Check two feature matrices like `feature_pair`, but leave them as they are: in float32, mapped from files.

    Raises:
        ValueError: not matrices, or with different numbers of columns.
        UserError: a feature is NaN or infinite.
    """
    a, b = np.asanyarray(first), np.asanyarray(second)
    feature_pair(a[:0], b[:0], names)
    for features, name in zip((a, b), names, strict=True):
        for _ in row_chunks(features, name):
            pass
    return a, b


def some_rows(count: int, most: int, seed: int = 0) -> NDArray[np.int64]:
    """At most ``most`` of the numbers 0..count-1, ascending: all of them, or a draw where they are more.

    The first rows of a set are no sample of it where it is in the order of its classes.
    """
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def row_chunks(features: NDArray[Any], name: str = "features") -> Iterator[tuple[slice, Array]]:
    """Yield (rows, those rows in float64), so that no more than a chunk is ever in memory.

    Raises:
        UserError: a feature is NaN or infinite.
    """
    for start in range(0, len(features), CHUNK):
        rows = slice(start, min(start + CHUNK, len(features)))
        yield rows, feature_matrix(features[rows], name, first_row=start)
