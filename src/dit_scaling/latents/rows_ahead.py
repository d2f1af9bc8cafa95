"""Latents on their way from disk to the system's page cache while the steps before those that need them compute."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

READERS = 32  # threads, as a disk that takes a millisecond a read serves many reads at once
STEPS_AHEAD = 4


@contextmanager
def rows_ahead(
    steps: Sequence[int],
    rows: Callable[[int], NDArray[np.int64]],
    read: Callable[[NDArray[np.int64]], object],
    count: int,
) -> Iterator[Iterator[int]]:
    """The steps, each once its rows have been read; those of the next steps are being read by threads meanwhile.

    Each row is read once, which leaves it in the system's page cache: what the step itself reads is there.

    Args:
        steps: in their order.
        rows: indices of the rows that a step needs; called from one thread.
        read: reads rows, and may be called from several threads at once.
        count: number of all rows.
    """
    known = np.zeros(count, dtype=bool)
    waiting = deque[list[Future[object]]]()
    with ThreadPoolExecutor(READERS, "latents") as threads:

        def ask(step: int) -> None:
            wanted = rows(step)
            new = wanted[~known[wanted]]
            known[new] = True
            parts = np.array_split(new, min(READERS, len(new)) or 1)
            waiting.append([threads.submit(read, part) for part in parts if len(part)])

        def walk() -> Iterator[int]:
            coming = iter(steps)
            for step in steps:
                while len(waiting) <= STEPS_AHEAD and (later := next(coming, None)) is not None:
                    ask(later)
                for reading in waiting.popleft():
                    reading.result()
                yield step

        try:
            yield walk()
        finally:
            threads.shutdown(cancel_futures=True)
