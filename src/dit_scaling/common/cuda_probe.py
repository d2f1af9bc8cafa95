"""Whether CUDA devices compute with this torch, asked in a process of its own: torch counts those that do not, too.

A driver may be older than the CUDA that torch was built for, a card older than the cards that torch has code for; both
are known for sure only once something is computed, and a process in which that failed cannot compute any more.

``python -m dit_scaling.common.cuda_probe`` computes on each device and prints what it found as JSON.
"""

import csv
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dit_scaling.common.files import digest, write_json

OLDEST_DRIVERS = {"11": "450", "12": "525", "13": "580"}
"""Of each CUDA, by NVIDIA's table of minor version compatibility (CUDA Compatibility, section 2)."""
# Who has a device alone, or all of its memory, computes there.
BUSY = re.compile(r"out of memory|busy or unavailable|CUBLAS_STATUS_ALLOC_FAILED", re.IGNORECASE)
SECONDS = 300.0
DRIVER = Path("/proc/driver/nvidia/version")
DEVICE_FILES = (DRIVER, Path("/dev/nvidiactl"), Path("/dev/kfd"), Path("/dev/dxg"))
"""One of them is there where a driver of GPUs is: of NVIDIA, of AMD, of Windows."""
SIDE = 64

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Card:
    """One device as torch numbers them."""

    name: str
    """With its compute capability, as far as known."""
    fault: str
    """Why it does not compute; empty where it does."""


@dataclass(frozen=True)
class Probe:
    """What a process of its own found."""

    cards: tuple[Card, ...]
    driver: str
    """Version of the driver; empty where unknown."""
    needs: str
    """What this torch needs, as a sentence."""

    def describe(self) -> str:
        """What is here, what is wrong with it, and what would help."""
        here = "; ".join(dict.fromkeys(f"{card.name}: {card.fault}" for card in self.cards if card.fault))
        return (
            f"no CUDA device here computes ({here}; driver {self.driver or 'unknown'}). {self.needs} Install a newer "
            "driver, or a torch built for an older CUDA: docs/imagenet.md, 'Which driver and torch'"
        )


def probe(count: int, folder: Path) -> Probe:
    """Compute on ``count`` devices, those that CUDA_VISIBLE_DEVICES leaves visible.

    Where all of them compute that is kept in ``folder``, for this torch, driver, choice of devices and uptime of the
    machine: a process that imports torch takes seconds.
    """
    import torch

    known = [torch.__version__, _driver_text(), os.environ.get("CUDA_VISIBLE_DEVICES", "all"), count, _boot()]
    kept = folder / f"computes-{digest(known)}.json"
    if kept.exists():
        return Probe((Card("", ""),) * count, "", "")
    found = _run(count)
    if not any(card.fault for card in found.cards):
        write_json(kept, {"cards": [card.name for card in found.cards]})
    return found


def driver_is_here() -> bool:
    """Whether a driver of GPUs is on this machine. Without one torch, which takes seconds to import, sees none."""
    return any(path.exists() for path in DEVICE_FILES) or shutil.which("nvidia-smi") is not None


def describe_unseen() -> str:
    """What the driver has where torch sees no device at all; empty without a driver, or where the user hides them."""
    told = told_by_the_driver()
    driver = told[0][1] if told else _driver_text()
    if not driver or "CUDA_VISIBLE_DEVICES" in os.environ:
        return ""
    import torch

    cards = f" for {', '.join(dict.fromkeys(card for card, _ in told))}" if told else ""
    return (
        f"torch {torch.__version__} sees no CUDA device, though driver {driver} is there{cards}. "
        f"{_needs_of_torch() or 'This torch is not built for CUDA.'} docs/imagenet.md, 'Which driver and torch', "
        "says what to install"
    )


def _run(count: int) -> Probe:
    """Ask the process."""
    command = [sys.executable, "-W", "ignore", "-m", __name__, str(count)]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        found = json.loads(answer.stdout.splitlines()[-1])
        return Probe(tuple(Card(**card) for card in found["cards"]), found["driver"], found["needs"])
    except subprocess.TimeoutExpired:
        fault = f"no answer within {SECONDS:.0f} s"
    except (IndexError, KeyError, TypeError, ValueError):
        last = answer.stderr.strip().splitlines()
        fault = last[-1] if last else f"a process that computed there died with exit code {answer.returncode}"
    return Probe((Card("the device", fault),) * count, _driver_text(), "")


def _look(count: int) -> Probe:
    """What the process does."""
    import torch

    told = told_by_the_driver()
    cards = list[Card]()
    for number in range(count):
        name = told[number][0] if number < len(told) else "a device"
        try:
            major, minor = torch.cuda.get_device_capability(number)
            name = f"{torch.cuda.get_device_name(number)} of compute capability {major}.{minor}"
            ones = torch.ones(SIDE, SIDE, device=f"cuda:{number}")
            fault = "" if (ones @ ones).sum().item() == SIDE**3 else "it computes wrongly"
        except (RuntimeError, AssertionError) as error:
            text = str(error).strip().splitlines()[0]
            fault = "" if BUSY.search(text) else text.rstrip(".")
        cards.append(Card(name, fault))
    return Probe(tuple(cards), told[0][1] if told else _driver_text(), _needs_of_torch())


def _needs_of_torch() -> str:
    """What this torch needs, as a sentence; empty where it is not built for CUDA."""
    import torch

    if torch.version.cuda is None:
        return ""
    driver = OLDEST_DRIVERS.get(torch.version.cuda.partition(".")[0], "of that CUDA")
    needs = f"torch {torch.__version__} is built for CUDA {torch.version.cuda}: it needs "
    needs += f"NVIDIA's driver {driver} or newer"
    oldest = _oldest_capability(str(torch._C._cuda_getArchFlags() or ""))
    return f"{needs}, and a card of compute capability {oldest} or newer." if oldest else f"{needs}."


def _oldest_capability(flags: str) -> str:
    """The oldest card that torch has code for, from flags like ``sm_75 sm_90a compute_120``: ``7.5``."""
    numbers = [int(number) for number in re.findall(r"\bsm_(\d+)", flags)]
    return f"{min(numbers) // 10}.{min(numbers) % 10}" if numbers else ""


def told_by_the_driver() -> Sequence[tuple[str, str]]:
    """Name with compute capability, and driver, of each card, from nvidia-smi, where there is one."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return []

    def rows() -> Iterator[tuple[str, str]]:
        for row in csv.reader(answer.stdout.splitlines(), skipinitialspace=True):
            if len(row) == 3:
                yield f"{row[0]} of compute capability {row[1]}", row[2]

    return list(rows())


def _driver_text() -> str:
    """The version that the driver's module states; empty where that is not shown."""
    try:
        match = re.search(r"\b\d{3}\.\d+(\.\d+)?\b", DRIVER.read_text())
    except OSError:
        return ""
    return match[0] if match else ""


def _boot() -> str:
    """What tells this uptime of the machine from others."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


if __name__ == "__main__":
    print(json.dumps(asdict(_look(int(sys.argv[1])))))
