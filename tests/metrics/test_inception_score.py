"""The Inception score: torch-fidelity's, closed forms, and what is refused."""

import numpy as np
import pytest
import torch
from torch_fidelity.metric_isc import isc_features_to_metric

from dit_scaling.common.errors import UserError
from dit_scaling.metrics import inception_score


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
