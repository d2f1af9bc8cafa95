"""Headers of .npy files, against numpy's own writers."""

import gc
import io
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.lib import format as npy

from dit_scaling.common.npy_header import read_npy_header


@pytest.fixture
def threads_meet() -> Iterator[None]:
    """Each garbage collection, and there are many, lets another thread in."""

    def let_in(_phase: str, _info: dict[str, int]) -> None:
        time.sleep(0)

    thresholds, interval = gc.get_threshold(), sys.getswitchinterval()
    gc.callbacks.append(let_in)
    gc.set_threshold(5)
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)
    gc.set_threshold(*thresholds)
    gc.callbacks.remove(let_in)


def header(array: np.ndarray, version: tuple[int, int]) -> io.BytesIO:
    stream = io.BytesIO()
    npy.write_array(stream, array, version)
    stream.seek(0)
    return stream


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_what_numpy_wrote_is_read(version: tuple[int, int]) -> None:
    array = np.asfortranarray(np.arange(6, dtype=np.float16).reshape(2, 3))
    stream = header(array, version)
    assert read_npy_header(stream) == ((2, 3), True, np.float16)
    assert stream.read() == array.tobytes(order="F")


def test_a_version_that_is_not_read_is_named() -> None:
    with pytest.raises(ValueError, match=r"3\.0"):
        read_npy_header(header(np.zeros(3), (3, 0)))


@pytest.mark.usefixtures("threads_meet")
def test_threads_may_read_at_once() -> None:
    with ThreadPoolExecutor(8) as threads:
        read = threads.map(lambda size: read_npy_header(header(np.zeros((size, 2)), (1, 0))), range(2000))
        assert [shape for shape, _, _ in read] == [(size, 2) for size in range(2000)]
