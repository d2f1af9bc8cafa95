"""Peak rates of accelerators whose data sheets state them, so that a rate can be given as utilisation."""

import re
from collections.abc import Mapping

# Device name as the driver gives it, from the special to the general -> TFLOP/s, dense, by precision of training.
# float32 is that of the ordinary units; the tensor cores do TF32 at half the rate of bfloat16. NVIDIA's data sheets.
PEAKS: Mapping[str, Mapping[str, float]] = {
    "A100": {"float32": 19.5, "tf32": 156, "bfloat16": 312},
    "H100 PCIe": {"float32": 51, "tf32": 378, "bfloat16": 756},
    "H100 NVL": {"float32": 60, "tf32": 417.5, "bfloat16": 835},
    "H100": {"float32": 67, "tf32": 494.5, "bfloat16": 989},
    "H200 NVL": {"float32": 60, "tf32": 417.5, "bfloat16": 835},
    "H200": {"float32": 67, "tf32": 494.5, "bfloat16": 989},
}

BANDWIDTHS: Mapping[str, float] = {
    "A100": 1.9e12,
    "H100 PCIe": 2.0e12,
    "H100 NVL": 3.9e12,
    "H100": 3.35e12,
    "H200 NVL": 4.8e12,
    "H200": 4.8e12,
}
"""Bytes a second between a device and its memory, by the same data sheets; A100 of 80 GB on PCIe."""


def listed_name(device: str) -> str | None:
    """The name in the tables above of a device as ``devices.describe_device`` names it; None where it is in none."""
    return next((name for name in PEAKS if re.search(rf"\b{name}\b", device)), None)


def peak_of(device: str, precision: str) -> float | None:
    """Peak of a device, or of several together, in TFLOP/s (a multiply-add is two); None where it is not known.

    Args:
        device: as ``devices.describe_device`` names it, for example "4 x NVIDIA H100 80GB HBM3".
        precision: ``float32``, ``tf32`` or ``bfloat16``.
    """
    count = int(several[1]) if (several := re.match(r"(\d+) x ", device)) else 1
    name = listed_name(device)
    peak = None if name is None else PEAKS[name].get(precision)
    return None if peak is None else count * peak
