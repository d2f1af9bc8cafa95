"""The bootstrap's spread against the spread of really drawing new images."""

import numpy as np
import pytest

from dit_scaling.common.errors import UserError
from dit_scaling.metrics import frechet_distance
from dit_scaling.metrics.bootstrap import bootstrap_frechet, weighted_moments


def distance_of(features, mu, sigma):
    return frechet_distance(features.mean(axis=0), np.atleast_2d(np.cov(features, rowvar=False)), mu, sigma)


def test_standard_error_is_the_delta_methods_in_one_dimension():
    # FD = (m - 0)^2 + (s - 1)^2 with Var m = s^2 / N and Var s = s^2 / 2N for Gaussian features.
    count, mean, spread = 4000, 0.5, 1.5
    features = mean + spread * np.random.default_rng(0).standard_normal((count, 1))
    m, s = features.mean(), features.std(ddof=1)
    delta = np.hypot(2 * m * s, 2 * (s - 1) * s / 2**0.5) / count**0.5
    result = bootstrap_frechet(features, [0.0], [[1.0]], resamples=1000, seed=1)
    # 1,000 resamples know a standard deviation to 2%, the delta method is good to about as much here.
    assert result.standard_error == pytest.approx(delta, rel=0.1)
    assert result.high - result.low == pytest.approx(2 * 1.96 * delta, rel=0.15)
    assert result.low < distance_of(features, np.zeros(1), np.eye(1)) < result.high


@pytest.mark.parametrize(
    ("spread", "least", "most"), [(1.5, 0.8, 1.3), (1.0, 1.5, 2.6)], ids=["distance-is-large", "distance-is-all-bias"]
)
def test_standard_error_and_bias_against_fresh_images(spread, least, most):
    rng = np.random.default_rng(2)
    mu, sigma = np.zeros(16), np.eye(16)
    sets = [spread * rng.standard_normal((300, 16)) for _ in range(300)]
    fresh = np.array([distance_of(features, mu, sigma) for features in sets])
    results = [bootstrap_frechet(features, mu, sigma, resamples=60, seed=0) for features in sets[:15]]
    ratio = np.mean([result.standard_error for result in results]) / fresh.std()
    assert least < ratio < most
    true_bias = fresh.mean() - 16 * (spread - 1) ** 2
    assert np.mean([result.bias for result in results]) == pytest.approx(true_bias, rel=0.25)
    assert all(result.low < distance < result.high for result, distance in zip(results, fresh, strict=False))


def test_resamples_have_the_moments_of_repeated_rows():
    rng = np.random.default_rng(3)
    features = rng.standard_normal((50, 4))
    weights = rng.multinomial(50, np.full(50, 1 / 50))
    mean, sigma = weighted_moments(features, weights.astype(float))
    np.testing.assert_allclose(mean, np.repeat(features, weights, axis=0).mean(axis=0), atol=1e-14)
    np.testing.assert_allclose(sigma, np.cov(features, rowvar=False, fweights=weights), atol=1e-13)


def test_fewer_images_than_dimensions_and_shifted_features():
    features = np.random.default_rng(4).standard_normal((20, 32))
    plain = bootstrap_frechet(features, np.zeros(32), np.eye(32), resamples=20, seed=0)
    shifted = bootstrap_frechet(features + 1e3, np.full(32, 1e3), np.eye(32), resamples=20, seed=0)
    assert np.isfinite(plain).all()
    assert shifted == pytest.approx(plain, rel=1e-6)


@pytest.mark.parametrize("rows", [np.ones((40, 8)) / 3, np.random.default_rng(7).standard_normal((3, 64))])
def test_resamples_of_one_image_alone_have_a_distance(rows):
    """All images the same, and three images, of which one resample in nine is a single one."""
    found = bootstrap_frechet(rows, np.zeros(rows.shape[1]), np.eye(rows.shape[1]), resamples=100, seed=0)
    assert np.isfinite(found).all()
    assert found.standard_error >= 0


def test_the_seed_decides():
    features = np.random.default_rng(5).standard_normal((100, 3))
    results = [bootstrap_frechet(features, np.zeros(3), np.eye(3), resamples=9, seed=seed) for seed in (0, 0, 1)]
    assert results[0] == results[1] != results[2]


def test_impossible_bootstraps_are_refused():
    features = np.random.default_rng(6).standard_normal((10, 3))
    with pytest.raises(ValueError, match="1 resamples of 10 images"):
        bootstrap_frechet(features, np.zeros(3), np.eye(3), resamples=1, seed=0)
    with pytest.raises(ValueError, match="9 resamples of 1 images"):
        bootstrap_frechet(features[:1], np.zeros(3), np.eye(3), resamples=9, seed=0)
    with pytest.raises(ValueError, match=r"shapes \(3,\) and \(4,\)"):
        bootstrap_frechet(features, np.zeros(4), np.eye(4), resamples=9, seed=0)
    features[7] = np.inf
    with pytest.raises(UserError, match="row 7"):
        bootstrap_frechet(features, np.zeros(3), np.eye(3), resamples=9, seed=0)
