"""Comparing shards with the manifest while training already reads them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import sha256_file
from dit_scaling.latents.reader import LatentReader


class ShardCheck:
    """Reads every shard of a split once, in the background; time and size of a file that rots on disk stay."""

    def __init__(self, reader: LatentReader) -> None:
        self._reader = reader
        self._complaint: str | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def refuse_if_bad(self, wait: bool = False) -> None:
        """Stop a training that has seen a bad shard; with ``wait``, once all of them are compared.

        Raises:
            UserError: a shard is not the manifest's.
        """
        if wait:
            self._thread.join()
        if self._complaint:
            raise UserError(self._complaint)

    def stop(self) -> None:
        """Compare no further shard."""
        self._stopped.set()
        self._thread.join()

    def _read(self) -> None:
        for path, sha256 in self._reader.shards:
            if self._stopped.is_set():
                return
            try:
                good = sha256_file(path) == sha256
            except OSError as error:
                self._complaint = f"{path} cannot be read: {error.strerror}. Delete it and run: snakemake {path}"
                return
            if not good:
                self._complaint = (
                    f"{path} is no usable shard: its sha256 is not that of the manifest, so it was truncated or "
                    f"altered. Delete it and run: snakemake {path}"
                )
                return


@contextmanager
def shards_compared(reader: LatentReader) -> Iterator[ShardCheck]:
    """The check of ``reader``'s shards, running while the block does."""
    check = ShardCheck(reader)
    try:
        yield check
    finally:
        check.stop()
