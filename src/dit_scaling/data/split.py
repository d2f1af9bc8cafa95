"""The held-out split, fixed by the seed."""

import numpy as np
from numpy.typing import NDArray

from dit_scaling.common.errors import UserError


def split_indices(count: int, held_out: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Shuffle ``0..count-1`` by ``seed`` and set ``held_out`` of them aside.

    Returns:
        int64 indices of the training images (count - held_out,) and of the held-out images (held_out,), disjoint,
        each in shuffled order so that any run of them is a random sample.

    Raises:
        UserError: no training image would be left.
    """
    if held_out >= count:
        raise UserError(f"data.held_out: {held_out} leaves no training image of {count}; choose a smaller number.")
    order = np.random.default_rng(seed).permutation(count).astype(np.int64)
    return order[held_out:], order[:held_out]
