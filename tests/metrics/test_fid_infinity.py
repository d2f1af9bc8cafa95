"""The distance at infinitely many samples: Gaussians whose distance is known, and Chong and Forsyth's own fit."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LinearRegression

from dit_scaling.metrics import frechet_distance
from dit_scaling.metrics.blocks import BLOCKS, choose_blocks, fewest_images
from dit_scaling.metrics.fid_infinity import extrapolate_frechet, half_width

DIM = 16
VARIANCE = np.arange(1, DIM + 1.0) ** -0.5
OTHER = 1.3 * VARIANCE
MEAN = np.full(DIM, 0.1)
TRUE = float(MEAN @ MEAN + ((VARIANCE**0.5 - OTHER**0.5) ** 2).sum())
"""Squared 2-Wasserstein distance of N(0, diag VARIANCE) and N(MEAN, diag OTHER)."""


def drawn(count: int, seed: int) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).normal(size=(count, DIM)) * VARIANCE**0.5).astype(np.float32)


def biased(features: NDArray[np.float32]) -> float:
    return frechet_distance(features.mean(axis=0), np.cov(features.T), MEAN, np.diag(OTHER))


def as_published(features: NDArray[np.float32], seed: int) -> float:
    """FID_infinity.py of the authors: 15 random subsets from a tenth to all, an ordinary line through 1 / N."""
    sizes = np.linspace(len(features) // 10, len(features), 15).astype(int)
    rng = np.random.default_rng(seed)
    distances = [biased(features[rng.permutation(len(features))[:size]]) for size in sizes]
    return float(LinearRegression().fit(1 / sizes[:, None], distances).predict([[0]])[0])


@pytest.fixture(scope="module")
def repeats() -> NDArray[np.float64]:
    """Of thirty sets of samples: our value, its half width, the distance as it is, the published fit."""
    rows = []
    for seed in range(30):
        features = drawn(640, seed)
        found = extrapolate_frechet(features, MEAN, np.diag(OTHER), seed=seed)
        half = half_width(found.standard_error, found.blocks)
        rows.append((found.value, half, biased(features), as_published(features, seed)))
    return np.array(rows).T


def test_the_bias_is_gone_and_the_interval_holds(repeats: NDArray[np.float64]) -> None:
    values, halves, distances, _ = repeats
    error = values.std(ddof=1) / len(values) ** 0.5
    assert distances.mean() - TRUE > 8 * error
    assert abs(values.mean() - TRUE) < 3 * error
    assert np.mean(np.abs(values - TRUE) < halves) >= 0.8  # 95 % but for the noise of thirty, and curvature


def test_it_is_the_published_estimate_with_less_noise(repeats: NDArray[np.float64]) -> None:
    values, _, _, published = repeats
    both = (values.var(ddof=1) + published.var(ddof=1)) / len(values)
    assert abs(values.mean() - published.mean()) < 3 * both**0.5
    assert values.std() < published.std()


def test_the_seed_of_the_shuffle_is_all_that_is_random() -> None:
    features = drawn(400, 0)
    first, again, other = (extrapolate_frechet(features, MEAN, np.diag(OTHER), seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first.value != other.value
    assert first.value == pytest.approx(other.value, abs=2 * first.standard_error)


@pytest.mark.parametrize("blocks", BLOCKS)
def test_samples_are_cut_into_as_many_blocks_as_they_fill(blocks: int) -> None:
    assert choose_blocks(blocks * 2 * DIM, DIM) == blocks
    assert choose_blocks(fewest_images(DIM) - 1, DIM) is None


def test_too_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"127 images of 16 features.*128"):
        extrapolate_frechet(drawn(127, 0), MEAN, np.diag(OTHER), seed=0)
