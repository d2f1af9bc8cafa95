"""Precision and recall: torch-fidelity's, sets of known shares, and what is refused."""

import numpy as np
import pytest
import torch
from torch_fidelity.metric_prc import prc_features_to_metric

from dit_scaling.metrics import precision_recall


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
