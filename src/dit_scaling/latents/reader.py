"""Random access to the latents of a study, fast enough to shuffle globally at every epoch."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dit_scaling.common.errors import UserError
from dit_scaling.common.words import count
from dit_scaling.latents.manifest import Shard, read_manifest
from dit_scaling.latents.shard_index import LATENT_DTYPE, open_index


class ShardRows:
    """The latents of some shards, memory-mapped; image i is the i-th in the order of shards and members."""

    def __init__(
        self,
        record: Path,
        shards: Iterable[Shard],
        shape: tuple[int, int, int, int],
        verify: bool = False,
        again: str | None = None,
    ) -> None:
        """Open shards.

        Args:
            record: the file that names them, in whose folder they lie.
            shards: what it says of them.
            shape: of each image's latents.
            verify: compare every shard with its sha256. Otherwise that is done once, when its index is made, and
                again if its size or modification time change.
            again: what to do where a shard is missing or unusable, where that is not to run the job that makes it.

        Raises:
            UserError: shards are missing, truncated, altered, or not as the record says.
        """
        self.shape = shape
        """Of each image."""
        self._numbers = int(np.prod(self.shape))
        self.shards: list[tuple[Path, str]] = []
        """File and sha256 of each shard, in order."""
        self._maps, indices = [], []
        for shard in shards:
            path = record.parent / shard.file
            index = open_index(path, shard.sha256, self.shape, verify=verify, again=again)
            if len(index.labels) != shard.count:
                raise UserError(f"{path} holds {count(len(index.labels), 'image')}, but {record} says {shard.count}.")
            indices.append(index)
            self.shards.append((path, shard.sha256))
            # A plain array over the map: slicing a numpy.memmap costs ten times as much.
            self._maps.append(np.asarray(np.memmap(path, dtype=LATENT_DTYPE, mode="r")))
        self.labels: NDArray[np.int64] = np.concatenate([index.labels for index in indices])
        """Class of each image, (N,)."""
        self.shard_counts: list[int] = [len(index.labels) for index in indices]
        """Images of each shard, in order."""
        self.shard_bytes: list[int] = [array.nbytes for array in self._maps]
        """Size of each shard, in order."""
        self._sources = [index.sources for index in indices]
        self._shards = np.repeat(np.arange(len(indices)), self.shard_counts)
        self._starts = np.concatenate([index.offsets for index in indices]) // LATENT_DTYPE.itemsize

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def sources(self) -> list[str]:
        """Name of each image in its source; made anew at each call."""
        return [name.decode(errors="surrogateescape") for names in self._sources for name in names.tolist()]

    def moments(self, indices: NDArray[np.int64]) -> NDArray[np.float16]:
        """What is stored of the images at ``indices`` (B,), float16 (B, *shape), not scaled.

        Raises:
            IndexError: an index is out of range.
        """
        batch = np.empty((len(indices), self._numbers), dtype=np.float16)
        places = zip(self._shards[indices].tolist(), self._starts[indices].tolist(), strict=True)
        for row, (shard, start) in enumerate(places):
            batch[row] = self._maps[shard][start : start + self._numbers]
        return batch.reshape(len(indices), *self.shape)

    def read_ahead(self, shards: Iterable[int]) -> None:
        """Ask the system to read whole shards into its page cache, from begin to end, without waiting for it."""
        if hasattr(os, "posix_fadvise"):  # Linux has it, macOS does not.
            for shard in shards:
                with self.shards[shard][0].open("rb") as stream:
                    os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)


class LatentReader(ShardRows):
    """The latents of one split: of each image (2, 2C, h, w), image and mirror; mean, then log-variance."""

    def __init__(self, manifest_path: Path, split: Literal["train", "held_out"], verify: bool = False) -> None:
        """Open a split.

        Args:
            manifest_path: the latents' manifest.
            split: which images.
            verify: as for `ShardRows`.

        Raises:
            UserError: manifest or shards are missing, truncated, altered, or do not fit together.
        """
        self.manifest = read_manifest(manifest_path)
        if split not in self.manifest.splits:
            raise UserError(f"{manifest_path} has no split {split}, only {', '.join(self.manifest.splits)}.")
        super().__init__(manifest_path, self.manifest.splits[split].shards, self.manifest.latent_shape, verify)
        histogram = self.manifest.splits[split].label_histogram
        if not np.array_equal(np.bincount(self.labels, minlength=len(histogram)), histogram):
            raise UserError(f"{manifest_path}: the labels of split {split} are not those of its shards.")
