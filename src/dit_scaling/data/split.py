"""The held-out split, fixed by the seed, and whether it leaves enough of everything."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dit_scaling.common.errors import UserError
from dit_scaling.common.words import count


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


def require_training_images(labels: NDArray[np.int64], class_names: Sequence[str], held_out: int, seed: int) -> None:
    """See that the split leaves every class something to learn from.

    Raises:
        UserError: a class has no training image; names the first.
    """
    train, _ = split_indices(len(labels), held_out, seed)
    counts = np.bincount(labels[train], minlength=len(class_names))
    if not counts.all():
        name, lacking = class_names[int(np.argmin(counts))], int((counts == 0).sum())
        raise UserError(
            f"data.held_out: {held_out} leaves {lacking} of {len(counts)} classes without a training image, '{name}' "
            "among them; hold fewer images out, or add images to these classes."
        )


def require_shards(images: int, held_out: int, shards: int, held_out_shards: int) -> None:
    """See that no shard of latents would be empty.

    Raises:
        UserError: a split has more shards than images.
    """
    for key, wanted, found in (("shards", shards, images - held_out), ("held_out_shards", held_out_shards, held_out)):
        if wanted > found:
            raise UserError(f"latents.{key}: {wanted} shards of {count(found, 'image')}; choose at most {found}.")
