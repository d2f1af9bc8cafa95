"""Inception score, precision and recall against torch-fidelity and closed forms."""

import numpy as np
import pytest
import torch
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from dit_scaling.common.errors import UserError
from dit_scaling.metrics import inception_score, precision_recall


@pytest.mark.parametrize(("count", "splits"), [(1000, 10), (1003, 10), (50, 1), (7, 7)])
def test_inception_score_is_torch_fidelitys(count, splits):
    logits = 3 * np.random.default_rng(count).standard_normal((count, 20))
    theirs = isc_features_to_metric(torch.from_numpy(logits), splits=splits, shuffle=False)
    assert inception_score(logits, splits) == pytest.approx(
        (theirs["inception_score_mean"], theirs["inception_score_std"]), rel=1e-10, abs=1e-12
    )


def test_inception_score_of_certain_and_of_ignorant_networks():
    certain = np.where(np.arange(200)[:, None] % 20 == np.arange(20), 1000.0, 0.0)
    assert inception_score(certain) == pytest.approx((20, 0), abs=1e-9)
    # The same images sorted by class: each of the ten splits sees two classes only.
    assert inception_score(np.sort(certain, axis=0)[::-1]).mean != pytest.approx(20, abs=1)
    assert inception_score(np.zeros((200, 20))) == pytest.approx((1, 0), abs=1e-12)


def test_log_probabilities_are_logits():
    logits = np.random.default_rng(0).standard_normal((100, 5))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert inception_score(np.log(probabilities)) == pytest.approx(inception_score(logits), rel=1e-12)


def test_impossible_splits_and_broken_logits_are_refused():
    for splits in (0, 6):
        with pytest.raises(ValueError, match=f"5 images cannot be cut into {splits} splits"):
            inception_score(np.zeros((5, 3)), splits)
    with pytest.raises(UserError, match="logits are not finite: row 1"):
        inception_score([[0.0, 1.0], [np.nan, 0.0]], 1)


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (0.6, 0.3), (1.5, 0.0)])
def test_precision_and_recall_are_torch_fidelitys(k, scale, shift):
    rng = np.random.default_rng(k)
    reference = rng.standard_normal((400, 8))
    sample = scale * rng.standard_normal((500, 8)) + shift
    theirs = prc_features_to_metric(
        torch.from_numpy(sample), torch.from_numpy(reference), prc_neighborhood=k, prc_batch_size=128, verbose=False
    )
    ours = precision_recall(reference, sample, k)
    assert 0 < ours.precision < 1
    assert 0 < ours.recall < 1
    # torch-fidelity averages in float32.
    assert ours == pytest.approx((theirs["precision"], theirs["recall"]), abs=1e-6)


def test_precision_and_recall_of_a_narrow_of_the_same_and_of_another_set():
    rng = np.random.default_rng(0)
    reference = rng.standard_normal((500, 4))
    narrow = precision_recall(reference, 0.3 * rng.standard_normal((500, 4)))
    assert narrow.precision > 0.95
    assert narrow.recall < 0.4
    assert precision_recall(reference, reference) == (1, 1)
    assert precision_recall(reference, reference + 100) == (0, 0)


def test_repeated_images_are_inside_their_own_ball_of_radius_0():
    points = np.repeat(np.random.default_rng(1).standard_normal((10, 64)) + 50, 5, axis=0)
    assert precision_recall(points, points[::-1]) == (1, 1)


def test_precision_and_recall_need_more_images_than_neighbours():
    points = np.random.default_rng(2).standard_normal((9, 2))
    for k in (0, 4):
        with pytest.raises(ValueError, match=rf"k={k} neighbours: .* 9 references and 4 samples"):
            precision_recall(points, points[:4], k)
