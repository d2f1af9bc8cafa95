"""Freed memory is kept, by the kernel's own count of page faults."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from dit_scaling.common.allocator import KEPT_MEMORY

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


@pytest.mark.parametrize("command", ["-c", "-m"])
def test_a_program_starts_anew_once_with_its_arguments(command: str, tmp_path: Path) -> None:
    program = "\n".join(
        [
            "import json, os, sys",
            "from dit_scaling.common.allocator import KEPT_MEMORY, keep_freed_memory",
            "keep_freed_memory()",
            "print(json.dumps([sys.argv[1:], {name: os.environ[name] for name in KEPT_MEMORY}]))",
        ]
    )
    (tmp_path / "program.py").write_text(program)
    environment = {name: value for name, value in os.environ.items() if name not in KEPT_MEMORY}
    what = program if command == "-c" else "program"
    run = subprocess.run(
        [sys.executable, command, what, "a b"],
        env=environment | {"MALLOC_TRIM_THRESHOLD_": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(run.stdout) == [["a b"], KEPT_MEMORY | {"MALLOC_TRIM_THRESHOLD_": "1"}]
