"""Freed memory is kept, by the kernel's own count of page faults."""

import os
import platform
import subprocess
import sys

import pytest

from dit_scaling.allocator import KEPT_MEMORY

FAULTS = """
import resource
for _ in range(20):
    bytes(60_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    bytearray(b"x") * 60_000_000
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the variables are glibc's")
def test_memory_that_is_freed_is_used_again_without_page_faults() -> None:
    def faults(variables: dict[str, str]) -> int:
        environment = {name: value for name, value in os.environ.items() if name not in KEPT_MEMORY} | variables
        run = subprocess.run(
            [sys.executable, "-c", FAULTS], env=environment, capture_output=True, text=True, check=True
        )
        return int(run.stdout)

    assert 20 * faults(KEPT_MEMORY) < faults({})
