"""What to do where the memory of a device, or of this machine, is not enough. Light: it loads no torch."""

import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dit_scaling.common.errors import LackingMemoryError

TEXTS = (
    *("out of memory", "STATUS_ALLOC_FAILED"),  # of CUDA, cuBLAS, cuDNN
    *("can't allocate memory", "Cannot allocate memory", "failed to map segment"),  # of a CPU, and where libraries load
)
PLENTY = 16 << 30
"""Bytes of address space with which every library loads."""
LOADING = 300
"""Seconds after which loading torch counts as failed: where memory is lacking it may try again for ever."""


@contextmanager
def memory_named(what: str, key: str, at_once: int, unit: str) -> Iterator[None]:
    """Say which setting to change where what runs within needs more memory than there is.

    Args:
        what: what runs, for people.
        key: the setting, like ``resources.sample_batch``.
        at_once: its present value, or what it stands for.
        unit: what it counts, in the plural.

    Raises:
        LackingMemoryError: the memory of the device, or of this machine, is not enough; every other error passes.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if not _out_of_memory(error):
            raise
        if at_once == 1:
            remedy = "Nothing less can be computed at once: take a device with more memory, or smaller variants."
        elif key.startswith("resources."):
            remedy = f"Set {key} to {at_once // 2} or less; that changes no result but for the rounding of sums."
        else:
            remedy = f"Set {key} to {at_once // 2} or less, which changes results; or {_make_room()}."
        raise LackingMemoryError(
            f"{what}: {at_once} {unit} at once do not fit the memory of {_memory()}. {remedy}"
        ) from None


@contextmanager
def fixed_memory_named(what: str) -> Iterator[None]:
    """Say how to make room where memory is lacking for what no setting makes smaller.

    Args:
        what: what runs, for people.

    Raises:
        LackingMemoryError: the memory of the device, or of this machine, is not enough; every other error passes.
    """
    try:
        yield
    except (RuntimeError, MemoryError, ImportError, OSError) as error:
        if not _out_of_memory(error):
            raise
        raise LackingMemoryError(
            f"{what} does not fit the memory of {_memory()}, and no setting makes it smaller. To make room, "
            f"{_make_room()}."
        ) from None


def refuse_little_address_space() -> None:
    """See that torch can be loaded where the address space is limited: beyond some point it ends the process at once.

    Raises:
        LackingMemoryError: it cannot.
    """
    limit = _address_space()
    if limit is None or limit > PLENTY:
        return
    command = [sys.executable, "-c", "import torch; torch.ones(1)"]
    try:
        trial = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LOADING)
    except subprocess.TimeoutExpired:
        fault = f"it did not end in {LOADING} s"
    else:
        if trial.returncode == 0:
            return
        fault = (trial.stderr.strip().splitlines() or ["it was killed"])[-1].strip()
    raise LackingMemoryError(
        f"torch cannot be loaded ({fault}), where the memory of this machine that a process may address is limited. "
        f"To make room, {_make_room()}."
    )


def _address_space() -> int | None:
    """Bytes that this process may address; None where that is not limited."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit


def _out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory is lacking: of torch's own kind, or one of CUDA's libraries or of the CPU."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or any(text in str(error) for text in TEXTS)


def _on_gpu() -> bool:
    """Whether this process computes on a GPU."""
    torch: Any = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_initialized())


def _memory() -> str:
    """The memory that ran out, for people."""
    if not _on_gpu():
        return "this machine"
    torch: Any = sys.modules["torch"]
    total = torch.cuda.get_device_properties().total_memory
    return f"{torch.cuda.get_device_name()} ({total / 2**30:.0f} GiB)"


def _make_room() -> str:
    """How to leave a process more memory, for people."""
    limit = _address_space()
    if limit is not None and limit <= PLENTY:
        return f"raise the limit of its address space, which is {limit / 1e9:.1f} GB (ulimit -v unlimited)"
    if _on_gpu():
        return "set resources.jobs_per_gpu to 1, end other programs on this GPU, or set resources.device to cpu"
    return "run fewer jobs side by side (snakemake --cores), or take a machine with more memory"
