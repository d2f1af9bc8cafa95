"""The held-out split."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dit_scaling.common.errors import UserError
from dit_scaling.data.split import split_indices


@given(count=st.integers(2, 300), fraction=st.floats(0, 0.99), seed=st.integers(0, 2**32))
def test_every_image_is_in_exactly_one_split(count: int, fraction: float, seed: int) -> None:
    held_out = int(count * fraction)
    train, kept = split_indices(count, held_out, seed)
    assert len(kept) == held_out
    np.testing.assert_array_equal(np.sort(np.concatenate([train, kept])), np.arange(count))


def test_depends_on_the_seed_alone() -> None:
    first, again, other = (split_indices(1000, 100, seed) for seed in (5, 5, 6))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert set(first[1].tolist()) != set(other[1].tolist())


def test_is_shuffled_so_that_a_run_of_indices_is_a_random_sample() -> None:
    train, held_out = split_indices(10_000, 1000, 0)
    # Standard error of the mean of 1,000 of 0..9,999 is about 87.
    assert abs(held_out.mean() - 5000) < 400
    assert abs(train[:1000].mean() - 5000) < 400


@pytest.mark.parametrize("held_out", [10, 11])
def test_nothing_left_to_train_on(held_out: int) -> None:
    with pytest.raises(UserError, match=rf"data\.held_out: {held_out} leaves no training image of 10"):
        split_indices(10, held_out, 0)
