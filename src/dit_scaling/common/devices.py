"""Which device a job computes on, and that no other job of this machine computes there."""

import itertools
import logging
import os
import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from dit_scaling.common.cuda_probe import describe_unseen, probe
from dit_scaling.common.errors import UserError

SCHEDULERS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID")  # what is visible in an allocation of theirs is its own
RETRY_SECONDS = 1.0

log = logging.getLogger(__name__)

claimed: list[FileLock] = []  # until this process ends, however it ends


def choose_device(name: str, count: int = 1, jobs_per_gpu: int = 1) -> torch.device:
    """The kind of device to compute on; ``auto`` is CUDA where it computes, else the CPU.

    CUDA devices are claimed for this process until it ends, and only they are visible to it: jobs side by side get
    devices of their own, or share them where ``jobs_per_gpu`` allows it, or wait. Where a cluster's scheduler shows no
    more than ``count``, it has chosen already. Call this before CUDA is used.

    Convolutions, for which torch takes TF32 unasked, are float32 from here on but within `matrix_products`.

    Args:
        name: auto, cpu or cuda.
        count: CUDA devices that this job needs.
        jobs_per_gpu: jobs that may compute on one device at a time, this one among them.

    Raises:
        UserError: ``cuda`` is asked for and absent or unable to compute, there are fewer devices than ``count``, or
            none can be chosen.
    """
    visible = [] if name == "cpu" else _visible_devices()
    if not visible:
        unseen = "" if name == "cpu" else describe_unseen()
        if name == "cuda":
            raise UserError(
                f"resources.device is cuda, but {unseen or 'torch sees no CUDA device here'}. Set it to auto or cpu."
            )
        if unseen:
            log.warning("resources.device is auto, and %s. This job computes on the CPU.", unseen)
        return torch.device("cpu")
    devices = visible
    if not claimed:  # those that this process holds compute
        found = probe(len(visible), _lock_folder())
        devices = [device for device, card in zip(visible, found.cards, strict=True) if not card.fault]
        if not devices and name == "cuda":
            raise UserError(f"resources.device is cuda, but {found.describe()}. Or set resources.device to cpu.")
        if not devices:
            log.warning("resources.device is auto, and %s. This job computes on the CPU.", found.describe())
            return torch.device("cpu")
    if len(devices) < count:
        raise UserError(
            f"resources.gpus_per_node: {count} ranks need as many CUDA devices; this job sees {len(devices)} that "
            "compute."
        )
    torch.backends.cudnn.allow_tf32 = False
    if not claimed and not (_allocation() and len(visible) == count):
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(_claim(devices, count, jobs_per_gpu))
        if torch.cuda.device_count() != count:  # counting without NVML has started CUDA, which saw all of them
            raise UserError(
                f"{len(devices)} CUDA devices, but the driver's monitor (NVML) is missing, so that a job cannot choose "
                "its own. Start the container with the driver capability 'utility', or one snakemake per device, each "
                "with CUDA_VISIBLE_DEVICES set."
            )
    return torch.device("cuda")


@contextmanager
def matrix_products(precision: str) -> Iterator[None]:
    """TF32 for float32 products and convolutions of CUDA only where ``precision`` is ``tf32``; then as before.

    For both, lest a U-Net and a transformer differ in arithmetic.
    """
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


@contextmanager
def arithmetic(precision: str, device: torch.device) -> Iterator[None]:
    """Forward passes in ``float32``, ``tf32``, or by autocast in ``bfloat16`` or ``float16``."""
    casts = {"bfloat16": torch.bfloat16, "float16": torch.float16}
    cast = torch.autocast(device.type, casts[precision]) if precision in casts else nullcontext()
    with matrix_products(precision), cast:
        yield


def _visible_devices() -> list[str]:
    """Names of the devices that this process may use, as CUDA_VISIBLE_DEVICES has them."""
    # Counted by the driver's monitor: once CUDA itself has started, it no longer looks at CUDA_VISIBLE_DEVICES.
    number = torch.cuda.device_count()
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(index) for index in range(number)] if chosen is None else chosen.split(",")
    return [name.strip() for name in names[:number]]


def _allocation() -> str:
    """What tells the allocation of a cluster's scheduler, or its step, from others on this machine; empty outside."""
    names = (*SCHEDULERS, "SLURM_STEP_ID")
    return "-".join(os.environ[name] for name in names if name in os.environ)


def _claim(devices: Sequence[str], count: int, jobs_per_gpu: int) -> list[str]:
    """Lock a place on ``count`` devices, the emptiest first; waits until other jobs of this user leave so many."""
    folder, waiting = _lock_folder(), False
    while True:
        # All or none of them, and one job at a time, lest two jobs each wait for what the other holds.
        with FileLock(folder / "choice.lock"):
            held: dict[str, FileLock] = {}
            for place, device in itertools.product(range(jobs_per_gpu), devices):
                if device not in held and (lock := _try_lock(folder / f"{device}.{place}.lock")):
                    held[device] = lock
            chosen = list(held)[:count] if len(held) >= count else []
            for device, lock in held.items():
                if device not in chosen:
                    lock.release()
        if chosen:
            claimed.extend(held[device] for device in chosen)
            log.info("computes on CUDA device %s", ", ".join(chosen))
            return chosen
        if not waiting:
            log.info("waits for %d of the CUDA devices %s, which other jobs hold", count, ", ".join(devices))
            waiting = True
        time.sleep(RETRY_SECONDS)


def _lock_folder() -> Path:
    """Where the jobs of this user tell each other of the devices of this machine, or of an allocation on it."""
    # Schedulers number the devices of each allocation anew, so that a name stands for others in another one.
    allocation = "-".join(["dit-scaling-devices", str(os.getuid()), *filter(None, [_allocation()])])
    folder = Path(tempfile.gettempdir(), allocation)
    folder.mkdir(exist_ok=True)
    return folder


def _try_lock(path: Path) -> FileLock | None:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on ``device``; a GPU has it from pinned memory, for which neither side waits."""
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def describe_device(device: torch.device, count: int = 1) -> str:
    """The name of the devices for records, GPUs or processor: ``NVIDIA H200``, ``4 x NVIDIA H200``."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return name if count == 1 else f"{count} x {name}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
