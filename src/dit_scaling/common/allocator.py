"""How glibc treats the memory that a job frees."""

import os
import sys

KEPT_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(2**34), "MALLOC_MMAP_MAX_": "0"}
"""Environment of processes that keep what they free for their next use, up to 16 GiB.

Left alone, glibc hands the activations of a step back to the kernel, which clears the same pages again for the next
step. The second variable has large blocks come from the heap too, which would be mapped and unmapped one by one.
"""


def keep_freed_memory() -> None:
    """Start this program anew with ``KEPT_MEMORY``, unless it has it: glibc reads it when a process starts."""
    if not KEPT_MEMORY.keys() <= os.environ.keys():
        os.execve(sys.executable, sys.orig_argv, KEPT_MEMORY | os.environ)
