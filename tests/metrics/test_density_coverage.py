"""Density and coverage: the authors' definition by brute force, their closed forms, and what is refused."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from dit_scaling.common.errors import UserError
from dit_scaling.metrics import density_coverage, neighbours, precision_recall


def by_definition(real, made, k):
    """Equations 4 and 5, as the authors' own code counts them (clovaai/generative-evaluation-prdc)."""
    radii = np.sort(cdist(real, real), axis=1)[:, k]
    inside = cdist(real, made) < radii[:, None]
    return inside.sum() / (k * len(made)), inside.any(axis=1).mean()


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (0.6, 0.3), (1.5, 0.0)])
def test_density_and_coverage_are_those_of_the_definition(monkeypatch, k, scale, shift):
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", 2**16)  # many blocks
    rng = np.random.default_rng(k)
    real = rng.standard_normal((300, 8))
    made = scale * rng.standard_normal((400, 8)) + shift
    ours = density_coverage(real, made, k)
    assert ours == pytest.approx(by_definition(real, made, k), rel=1e-12)
    assert 0 < ours.coverage <= 1


def test_sets_that_are_alike_have_the_expected_density_and_coverage():
    """Whatever the distribution: 1, and 1 - (R - 1)...(R - k) / ((S + R - 1)...(S + R - k))."""
    rng, real, made, k = np.random.default_rng(0), 300, 200, 5
    found = np.mean([density_coverage(rng.random((real, 4)), rng.random((made, 4)), k) for _ in range(40)], axis=0)
    steps = np.arange(1, k + 1)
    coverage = 1 - np.prod((real - steps) / (made + real - steps))
    assert found == pytest.approx((1.0, coverage), abs=0.01)


def test_an_outlier_among_the_real_images_makes_precision_1_but_moves_density_little():
    rng = np.random.default_rng(0)
    real, garbage = rng.standard_normal((200, 4)), 4 + rng.standard_normal((200, 4))
    with_outlier = np.concatenate([real, np.full((1, 4), 20.0)])
    assert precision_recall(real, garbage).precision < 0.1
    assert precision_recall(with_outlier, garbage).precision == 1
    assert density_coverage(with_outlier, garbage).density - density_coverage(real, garbage).density < 0.21


def test_impossible_numbers_of_images_and_broken_features_are_refused():
    some = np.random.default_rng(0).random((5, 2))
    with pytest.raises(ValueError, match=r"k=5 neighbours.*references, which are 5"):
        density_coverage(some, some)
    with pytest.raises(ValueError, match="samples, which are 0"):
        density_coverage(some, some[:0], 2)
    with pytest.raises(UserError, match="sample_features are not finite: row 1"):
        density_coverage(some, np.array([[0.0, 1.0], [np.nan, 0.0]]), 2)
