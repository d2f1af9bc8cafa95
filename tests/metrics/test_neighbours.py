"""Exhaustive nearest neighbours against scipy's k-d tree and direct distances."""

import numpy as np
import pytest
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from dit_scaling.metrics import arrays, neighbours
from dit_scaling.metrics.neighbours import (
    nearest_neighbours,
    squared_distance_blocks,
    squared_radii,
    squared_to_nearest,
)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of a few rows, so that small sets are cut into many, the last of them shorter."""
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", 8 * 300 * 7)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("k", [1, 4, 250])
def test_neighbours_are_the_k_d_trees(k):
    rng = np.random.default_rng(0)
    queries, references = rng.standard_normal((101, 6)), rng.standard_normal((250, 6))
    assert len(list(squared_distance_blocks(queries, references))) > 10
    distance, index = KDTree(references).query(queries, k=[*range(1, k + 1)])
    found = nearest_neighbours(queries, references, k=k)
    np.testing.assert_array_equal(found.index, index)
    np.testing.assert_allclose(found.distance, distance, rtol=1e-12)


@pytest.mark.usefixtures("small_blocks")
def test_blocks_are_all_squared_distances():
    rng = np.random.default_rng(1)
    queries, references = rng.standard_normal((50, 40)) + 1e3, rng.standard_normal((200, 40)) + 1e3
    blocks = list(squared_distance_blocks(queries, references))
    assert [index for rows, _ in blocks for index in range(50)[rows]] == list(range(50))
    together = np.concatenate([block for _, block in blocks])
    np.testing.assert_allclose(together, cdist(queries, references, "sqeuclidean"), rtol=1e-10)


def test_copies_are_at_distance_exactly_0():
    rng = np.random.default_rng(2)
    references = rng.standard_normal((300, 64)) * 10 ** rng.uniform(-3, 3, 64) + 100
    chosen = rng.permutation(300)[:20]
    found = nearest_neighbours(references[chosen], references)
    np.testing.assert_array_equal(found.index[:, 0], chosen)
    np.testing.assert_array_equal(found.distance, 0)
    ((_, block),) = squared_distance_blocks(references[chosen], references)
    np.testing.assert_array_equal(block[np.arange(20), chosen], 0)
    assert np.count_nonzero(block == 0) == 20


def test_too_many_or_no_neighbours_are_refused():
    points = np.zeros((3, 2))
    for k in (0, 4):
        with pytest.raises(ValueError, match=f"The {k} nearest of 3 references"):
            nearest_neighbours(points, points, k=k)
    with pytest.raises(ValueError, match="queries have 2 dimensions and references have 1"):
        nearest_neighbours(points, points[:, :1])


@pytest.mark.usefixtures("small_blocks")
def test_the_nearest_others_are_the_k_d_trees_and_infinitely_far_where_there_are_none(monkeypatch):
    monkeypatch.setattr(arrays, "CHUNK", 30)
    points = np.random.default_rng(1).standard_normal((101, 6))
    found, _ = KDTree(points).query(points, k=6)
    np.testing.assert_allclose(squared_to_nearest(points, 5), found[:, 1:] ** 2, rtol=1e-9)
    np.testing.assert_allclose(squared_radii(points, 3), found[:, 3] ** 2, rtol=1e-9)
    assert np.isinf(squared_to_nearest(points[:4], 5)).sum() == 4 * 2
