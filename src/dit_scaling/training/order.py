"""The order in which training visits samples: every sample once an epoch, shuffled by (seed, epoch)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dit_scaling.common.errors import UserError
from dit_scaling.common.memory import memory_limit


def bytes_shuffled(shard_bytes: Sequence[int], group: int | None) -> int:
    """What a shuffle draws from, all shards or two groups of so many at a time, in bytes."""
    largest = sorted(shard_bytes, reverse=True)
    return sum(largest if group is None else largest[: 2 * group])


class EpochOrder:
    """A permutation of all samples for each epoch.

    The shards are shuffled and cut into groups, and the samples of each group are shuffled among themselves; a single
    group of all shards is a global shuffle. Only one group, and the next one that is read ahead, need to be in memory.
    """

    def __init__(self, shard_counts: Sequence[int], seed: int, group: int | None = None) -> None:
        """Of shards with so many samples each, in the order that indices count them; ``group`` shards at a time."""
        self._starts = np.concatenate([[0], np.cumsum(shard_counts)])
        self._seed = seed
        self._group = group
        self._epoch = -1
        self._order: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._groups: list[NDArray[np.int64]] = []  # shards of each group of the epoch
        self._ends: NDArray[np.int64] = np.empty(0, dtype=np.int64)  # position in the epoch at which each group ends

    def indices(self, step: int, batch_size: int) -> NDArray[np.int64]:
        """Indices (B,) of the samples of ``step``, counted from 0; a batch may straddle two epochs."""
        positions = np.arange(step * batch_size, (step + 1) * batch_size)
        epochs, offsets = np.divmod(positions, self._starts[-1])
        return np.concatenate([self._permutation(int(epoch))[offsets[epochs == epoch]] for epoch in np.unique(epochs)])

    def shards_ahead(self, step: int, batch_size: int) -> list[int]:
        """Shards that ``step`` draws from and those that are next in its epoch; none where the shuffle is global."""
        if self._group is None:
            return []
        epoch, offset = divmod((step + 1) * batch_size - 1, int(self._starts[-1]))
        self._permutation(epoch)
        now = int(np.searchsorted(self._ends, offset, side="right"))
        ahead: list[int] = np.concatenate(self._groups[now : now + 2]).tolist()
        return ahead

    def check_memory(self, shard_bytes: Sequence[int]) -> None:
        """See that what the shuffle draws from fits the memory that there is: from disk each sample would be a seek.

        Raises:
            UserError: it does not; with both figures.
        """
        needed, limit = bytes_shuffled(shard_bytes, self._group), memory_limit()
        if needed > limit:
            chosen = "null" if self._group is None else self._group
            raise UserError(
                f"training.shuffle_shards: {chosen} shuffles among shards that take {needed / 1e9:.1f} GB of memory; "
                f"this process may use {limit / 1e9:.1f} GB. Shuffle among fewer shards at a time (as many again are "
                "read ahead), or train where there is more memory (on SLURM: mem_mb of train_milestone)."
            )

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        if epoch != self._epoch:
            rng = np.random.default_rng([self._seed, epoch])
            if self._group is None:
                self._order = rng.permutation(int(self._starts[-1]))
            else:
                shards = rng.permutation(len(self._starts) - 1)
                self._groups = np.split(shards, list(range(self._group, len(shards), self._group)))
                samples = [rng.permutation(self._samples(group)) for group in self._groups]
                self._order = np.concatenate(samples)
                self._ends = np.cumsum([len(indices) for indices in samples])
            self._epoch = epoch
        return self._order

    def _samples(self, group: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.concatenate([np.arange(self._starts[shard], self._starts[shard + 1]) for shard in group])
