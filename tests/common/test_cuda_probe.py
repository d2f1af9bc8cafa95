"""The probe's own process, with a torch that answers as torch does where a driver or a card is too old."""

import os
from pathlib import Path

import pytest

from dit_scaling.common import cuda_probe
from dit_scaling.common.cuda_probe import probe

TORCH = """
import sys
__version__ = "2.15.0+cu132"
class version:
    cuda = "13.2"
class _C:
    _cuda_getArchFlags = staticmethod(lambda: "sm_75 sm_80 sm_90 compute_120")
class Product:
    def __init__(self, side): self.side = side
    def __matmul__(self, other): return self
    def sum(self): return self
    def item(self): return {result}
class cuda:
    @staticmethod
    def get_device_capability(number): {capability}
    @staticmethod
    def get_device_name(number): return "NVIDIA GeForce GTX 1080"
def ones(side, _, device):
    {ones}
    return Product(side)
"""
TOO_OLD_DRIVER = "The NVIDIA driver on your system is too old (found version 12020). Please update your GPU driver."
FINE = {"capability": "return (9, 0)", "ones": "pass", "result": "self.side ** 3"}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of a machine whose driver is 535 by nvidia-smi, and of its torch."""
    tools = tmp_path / "tools"
    tools.mkdir()
    program = tools / "nvidia-smi"
    program.write_text("#!/bin/sh\necho NVIDIA A100-SXM4-40GB, 8.0, 535.183.01\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    return tmp_path


def install(folder: Path, **behaviour: str) -> None:
    """Put a torch of that behaviour before the real one."""
    (folder / "torch.py").write_text(TORCH.format(**{**FINE, **behaviour}))


def test_a_device_that_computes_is_asked_once(machine: Path) -> None:
    install(machine)
    found = probe(1, machine)
    assert [card.fault for card in found.cards] == [""]
    assert found.cards[0].name == "NVIDIA GeForce GTX 1080 of compute capability 9.0"
    install(machine, ones="raise RuntimeError('asked again')")
    assert [card.fault for card in probe(1, machine).cards] == [""]
    assert [card.fault for card in probe(2, machine).cards] == ["asked again"] * 2


def test_a_driver_that_is_too_old_is_named_with_the_card_and_what_is_needed(machine: Path) -> None:
    install(machine, capability=f"raise RuntimeError({TOO_OLD_DRIVER!r})")
    told = probe(1, machine).describe()
    assert "NVIDIA A100-SXM4-40GB of compute capability 8.0: The NVIDIA driver on your system is too old" in told
    assert "driver 535.183.01" in told
    assert "built for CUDA 13.2: it needs NVIDIA's driver 580 or newer, and a card of compute capability 7.5" in told


def test_a_card_that_is_too_old_is_named_and_asked_again(machine: Path) -> None:
    text = "CUDA error: no kernel image is available for execution on the device\\nCUDA kernel errors might be"
    install(machine, capability="return (6, 1)", ones=f"raise RuntimeError('{text}')")
    (card,) = probe(1, machine).cards
    assert card.name == "NVIDIA GeForce GTX 1080 of compute capability 6.1"
    assert card.fault == "CUDA error: no kernel image is available for execution on the device"
    install(machine)
    assert [card.fault for card in probe(1, machine).cards] == [""]


@pytest.mark.parametrize(
    "text", ["CUDA out of memory. Tried to allocate", "all CUDA-capable devices are busy or unavailable"]
)
def test_a_device_that_others_have_alone_or_filled_computes(machine: Path, text: str) -> None:
    install(machine, ones=f"raise RuntimeError('{text}')")
    assert [card.fault for card in probe(1, machine).cards] == [""]


@pytest.mark.parametrize(
    ("behaviour", "fault"),
    [
        ({"ones": "sys.exit('libcuda died')"}, "libcuda died"),
        ({"ones": "import os; os.abort()"}, "died with exit code -6"),
        ({"ones": "import time; time.sleep(60)"}, "no answer within 1 s"),
        ({"result": "0"}, "it computes wrongly"),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_a_device_that_takes_its_process_down_does_not_compute(
    machine: Path, monkeypatch: pytest.MonkeyPatch, behaviour: dict[str, str], fault: str
) -> None:
    if "1 s" in fault:
        monkeypatch.setattr(cuda_probe, "SECONDS", 1.0)
    install(machine, **behaviour)
    assert fault in probe(1, machine).cards[0].fault


def test_the_real_torch_without_a_device_does_not_compute(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    found = probe(1, tmp_path)
    assert found.cards[0].fault
    assert f"torch {torch.__version__} is built for" in found.needs
