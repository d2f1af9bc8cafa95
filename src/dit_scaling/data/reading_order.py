"""The order in which many images are read: those that a source reads together, one after the other."""

import numpy as np
from numpy.typing import NDArray

from dit_scaling.data.sources import ImageSource, ParquetSource

AT_RANDOM = 10_000
"""Images at the begin of a shuffled order that stay where they are: whatever looks at the first of a split, such as a
loss or the features that are kept, takes them for a random sample of it."""


def reading_order(source: ImageSource, shuffled: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same indices in an order in which they are read quickly, of which the first `AT_RANDOM` are as they were.

    A source that reads images one by one keeps the order. One that reads row groups has the images of a row group
    together, and the row groups in random order: a run of the order needs few of them, and each of them once.
    """
    return np.concatenate([shuffled[:AT_RANDOM], together(source, shuffled[AT_RANDOM:])])


def together(source: ImageSource, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same indices, those of one row group together; row groups come in the order of their first image."""
    if not isinstance(source, ParquetSource):
        return indices
    _, first, inverse = np.unique(source.group[indices], return_index=True, return_inverse=True)
    return indices[np.lexsort((indices, first[inverse]))]


def sample_evenly(source: ImageSource, limit: int) -> NDArray[np.int64]:
    """Indices of at most ``limit`` images, ascending, spread evenly over the source; from few row groups of it."""
    places = np.arange(len(source))
    if isinstance(source, ParquetSource):
        groups = np.unique(source.group)  # some of a file may have no rows
        few = min(len(groups), max(1, limit * len(groups) // len(source)))
        places = places[np.isin(source.group, groups[spread_evenly(len(groups), few)])]
    chosen: NDArray[np.int64] = places[spread_evenly(len(places), limit)]
    return chosen


def spread_evenly(count: int, wanted: int) -> NDArray[np.int64]:
    """At most ``wanted`` of the numbers 0..count-1, ascending, as far apart as they can be."""
    return np.unique(np.linspace(0, count - 1, min(wanted, count)).astype(np.int64))
