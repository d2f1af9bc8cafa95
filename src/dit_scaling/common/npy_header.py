"""Headers of .npy files, read by one thread at a time."""

from threading import Lock
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

# numpy parses a header with ast.literal_eval, and CPython counts the depth of all threads' parsing in one place: a
# garbage collection that lets another thread in ends in SystemError (seen with Python 3.11.7).
_PARSING = Lock()
_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran's order, and dtype; ``stream`` is left where the numbers begin.

    Raises:
        ValueError: it is no npy file of version 1.0 or 2.0.
    """
    version = npy.read_magic(stream)
    if version not in _READERS:
        raise ValueError(f"version {version[0]}.{version[1]}, where 1.0 or 2.0 is read")
    with _PARSING:
        return _READERS[version](stream)
