"""The tests of a GPU on one that is none, see tests/pretended_cuda: what mixes devices breaks without a GPU too."""

import os
import re
import subprocess
import sys

import pytest

from pipeline import ROOT

REFUSED = """
import torch

there, here = torch.ones(3, device="cuda"), torch.ones(3)
assert there.device.type == "cuda" and (there + 1).sum().cpu().item() == 6
for wrong in (
    lambda: there + here,
    lambda: torch.nn.functional.linear(there, here[None]),
    lambda: here[torch.zeros(1, dtype=torch.int64, device="cuda")] + here,
    lambda: there.numpy(),
):
    try:
        wrong()
    except (RuntimeError, TypeError):
        continue
    raise SystemExit("a tensor of the host was taken for one of the device")
torch.cuda.set_sync_debug_mode("error")
there.add_(there * 2).copy_(here.pin_memory().to("cuda", non_blocking=True))
for wait in (
    there.sum().item,
    there.cpu,
    there.nonzero,
    lambda: bool((there > 0).any()),
    lambda: here.copy_(there),
    lambda: here.to("cuda"),
):
    try:
        wait()
    except RuntimeError:
        continue
    raise SystemExit("the host waited")
"""


def test_a_pretended_gpu_refuses_what_a_gpu_refuses() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests" / "pretended_cuda")}
    finished = subprocess.run([sys.executable, "-c", REFUSED], env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.slow
@pytest.mark.dag
def test_the_tests_of_a_gpu_pass_on_a_pretended_one() -> None:
    plain = "not tf32 and not bfloat16 and not compiled"  # it has no other arithmetic, and nothing is compiled
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-k", plain, "tests/gpu", "-q", "-p", "no:cacheprovider"]
    environment = {**os.environ, "TEST_DEVICE": "pretended"}
    finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout[-4000:]
    passed, skipped = map(int, re.findall(r"(\d+) passed, (\d+) skipped", finished.stdout)[0])
    assert passed >= 16 > 4 >= skipped, finished.stdout[-4000:]
