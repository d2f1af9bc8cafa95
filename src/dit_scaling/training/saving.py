"""Saving states beside training: it stands still only while its tensors are copied, not while they are written."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from dit_scaling.latents.shard_check import ShardCheck
from dit_scaling.training.state import StateFolder, TrainingState


class Saver:
    """Writes the states of one run, one at a time, in a thread of its own."""

    def __init__(self, folder: StateFolder, check: ShardCheck | None, thread: ThreadPoolExecutor) -> None:
        self._folder, self._check, self._thread = folder, check, thread
        self._copies: dict[str, Tensor] = {}  # kept, as fresh memory of this size costs seconds
        self._writing: Future[None] | None = None

    def start(self, state: TrainingState) -> None:
        """Copy a state to the host's memory, and have it written from there; waits for the state before it.

        Raises:
            UserError: the state before it could not be written, or a shard is bad.
        """
        self.wait()
        for name, tensor in state.tensors.items():
            if name not in self._copies:
                self._copies[name] = torch.empty_like(tensor, device="cpu")
            self._copies[name].copy_(tensor.detach())
        self._writing = self._thread.submit(self._write, replace(state, tensors=self._copies))

    def check(self) -> None:
        """Costs nothing.

        Raises:
            UserError: a state could not be written, or a shard is bad.
        """
        if self._writing is not None and self._writing.done():
            self.wait()

    def wait(self) -> None:
        """Until the state is on disk.

        Raises:
            UserError: it could not be written, or a shard is bad.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _write(self, state: TrainingState) -> None:
        if self._check is not None:
            self._check.refuse_if_bad(wait=True)
        self._folder.save(state)


@contextmanager
def saving(folder: StateFolder, check: ShardCheck | None = None) -> Iterator[Saver]:
    """A saver for as long as training lasts; however that ends, what is being written is written to its end.

    No state is written that a shard which ``check`` finds bad has gone into.

    Raises:
        UserError: the last state could not be written.
    """
    with ThreadPoolExecutor(1, "state") as thread:
        saver = Saver(folder, check, thread)
        yield saver
        saver.wait()
