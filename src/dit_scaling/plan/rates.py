"""Measured rates of devices (``measured_rates.csv``), and a model fitted to them for what was not measured.

The table's rates are steps a second in training, and images a second elsewhere: in sampling of 250 steps without
guidance, in encoding and decoding of 256 x 256 pixels. The model: a pass takes the time of its arithmetic at one rate,
and of what its blocks write and read, which is in proportion to tokens x width x blocks, at another. Each row of the
table weighs alike. A device on which only one variant was measured has the shape of another's model, scaled to that
row; one on which nothing was measured is scaled by data sheets, arithmetic by peak and traffic by memory bandwidth.
"""

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from scipy.optimize import nnls

from dit_scaling.plan.network_costs import SD_VAE
from dit_scaling.plan.peaks import BANDWIDTHS, PEAKS
from dit_scaling.variants import TRAINING_PASSES, AnyVariant, Variant, count_gflops, parse_variant

SAMPLING_STEPS, PIXELS = 250, 256
REFERENCE = "H200"
"""The device on which more than one variant was measured."""
LAUNCH = 3.0e-3
"""Seconds that a pass of a network takes at least where it is not compiled: 1,750 operators a part of S/8's step, three
passes, launched by the host at 5 microseconds each. An estimate, not a measurement."""


@dataclass(frozen=True)
class Passes:
    """What one kind of pass costs: seconds of so much arithmetic and traffic."""

    rate: float
    """Operations a second; a multiply-add is two."""
    traffic: float
    """Tokens x width x blocks a second."""

    def seconds(self, operations: float, written: float) -> float:
        """Of so many operations, and tokens x width x blocks."""
        return operations / self.rate + written / self.traffic

    def scaled(self, rate: float, traffic: float) -> "Passes":
        """Faster by these factors."""
        return Passes(self.rate * rate, self.traffic * traffic)


@dataclass(frozen=True)
class Rates:
    """Of one device, for one study's precisions."""

    training: Passes
    sampling: Passes
    forward: Passes
    """Of what evaluates a network elsewhere, which is never compiled."""
    encoding: float
    """Operations a second."""
    decoding: float
    measured: dict[str, float]
    """Variant to the seconds that training takes an image, where it was measured as the study trains."""
    launch: float
    """Seconds that a training pass takes at least."""
    source: str
    """Where they come from, in words."""


@dataclass(frozen=True)
class Measured:
    """A row of the table; empty text where something is not known."""

    device: str
    torch: str
    variant: str
    precision: str
    compiled: bool
    batch: int
    stage: str
    rate: float
    commit: str
    date: str
    source: str


@cache
def measured_rates() -> tuple[Measured, ...]:
    """The table."""
    with resources.files("dit_scaling.plan").joinpath("measured_rates.csv").open() as stream:
        rows = [dict(row) for row in csv.DictReader(stream)]
    numbers: dict[str, Callable[[str], Any]] = {"compiled": lambda text: text == "true", "batch": int, "rate": float}
    return tuple(Measured(**{key: numbers.get(key, str)(text) for key, text in row.items()}) for row in rows)


def rates_of(
    device: str,
    training: str,
    compiled: bool,
    sampling: str,
    vae: str = "tf32",
    *,
    compiled_sampling: bool = False,
    priced: Mapping[str, float] | None = None,
) -> Rates:
    """Rates of a device by its name in ``peaks.PEAKS``.

    Args:
        device: the name.
        training: precision of training.
        compiled: whether training is.
        sampling: precision of sampling.
        vae: precision of encoding.
        compiled_sampling: whether sampling is; it is priced as not compiled where that alone was measured.
        priced: Gflops of the variants that are priced. A row of the table is of those that cost what its own did: on
            other latents a name is another network. None for all of its rows.
    """
    own = [row for row in _rows(device, "train", training, compiled) if priced is None or _is_priced(row, priced)]
    passes, how = _passes(device, training, compiled)
    sampled, sampled_how = _sampling(device, sampling, compiled_sampling)
    exact = {row.variant: 1 / (row.rate * row.batch) for row in own}
    known = [f"{row.variant} as {row.source if not row.date else f'measured on {row.date}'}" for row in own]
    source = f"training of {'; '.join(known)}; of others {how}" if exact else f"training {how}"
    return Rates(
        passes,
        sampled,
        _sampling(device, sampling, False)[0],
        _autoencoder(device, "encode", vae),
        _autoencoder(device, "decode", "tf32"),
        exact,
        0.0 if compiled else LAUNCH,
        f"{source}; sampling {sampled_how}",
    )


def written_by(variant: AnyVariant, input_size: int) -> float:
    """Tokens x width x blocks of one forward pass of one latent; 0 for a U-Net, of which none was measured."""
    if not isinstance(variant, Variant):
        return 0.0
    return (input_size // variant.patch) ** 2 * variant.hidden_size * variant.depth


def _rows(device: str, stage: str, precision: str, compiled: bool) -> list[Measured]:
    asked = (device, stage, precision, compiled)
    return [row for row in measured_rates() if (row.device, row.stage, row.precision, row.compiled) == asked]


def _is_priced(row: Measured, priced: Mapping[str, float]) -> bool:
    gflops = priced.get(row.variant)
    return gflops is not None and math.isclose(gflops, count_gflops(parse_variant(row.variant)), rel_tol=0.01)


def _passes(device: str, precision: str, compiled: bool) -> tuple[Passes, str]:
    """Training's, and where they come from."""
    # The way that was measured, or the nearest one: float32 as TF32, and what is compiled as what is not.
    nearest = precision if precision != "float32" else "tf32"
    way = (nearest, compiled) if _rows(REFERENCE, "train", nearest, compiled) else (nearest, False)
    found, how = _fitted(_rows(REFERENCE, "train", *way)), f"by a model fitted to {REFERENCE}'s of {_named(*way)}"
    factor = PEAKS[REFERENCE][precision] / PEAKS[REFERENCE][nearest]
    found = found.scaled(factor, 1.0)
    if device == REFERENCE:
        return found, how
    found = found.scaled(
        PEAKS[device][precision] / PEAKS[REFERENCE][precision], BANDWIDTHS[device] / BANDWIDTHS[REFERENCE]
    )
    own = _rows(device, "train", precision, compiled)
    if not own:
        return found, f"{how}, scaled by data sheets"
    operations, written, seconds = _arithmetic(own)
    ratios = [found.seconds(*costs) / took for *costs, took in zip(operations, written, seconds, strict=True)]
    factor = sum(ratios) / len(ratios)
    return found.scaled(factor, factor), f"{how}, scaled to {device}'s of {', '.join(row.variant for row in own)}"


def _sampling(device: str, precision: str, compiled: bool) -> tuple[Passes, str]:
    """Sampling's: the shape of training's, scaled to what was measured."""
    nearest = precision if precision != "float32" else "tf32"
    compiled = compiled and bool(_rows(REFERENCE, "sample", nearest, True))
    base, _ = _passes(REFERENCE, nearest, compiled)
    row = _rows(REFERENCE, "sample", nearest, compiled)[0]
    variant = parse_variant(row.variant)
    factor = row.rate * SAMPLING_STEPS * base.seconds(2e9 * count_gflops(variant), written_by(variant, 32))
    own, _ = _passes(device, precision, compiled) if device != REFERENCE or precision != nearest else (base, "")
    how = f"scaled to {REFERENCE}'s of {row.variant} in {_named(nearest, compiled)}"
    return own.scaled(factor, factor), how if device == REFERENCE else f"{how} and by data sheets"


def _autoencoder(device: str, stage: str, precision: str) -> float:
    """Operations a second of encoding or decoding; by the TF32 peak where it was not measured on the device."""
    nearest = precision if precision != "float32" else "tf32"
    (row,) = _rows(REFERENCE, stage, nearest, False)
    cost = SD_VAE.encoding(PIXELS) if stage == "encode" else SD_VAE.decoding(PIXELS)
    return 2 * cost * row.rate * PEAKS[device]["tf32"] / PEAKS[REFERENCE]["tf32"]


def _arithmetic(rows: Sequence[Measured]) -> tuple[list[float], list[float], list[float]]:
    """Operations, traffic and seconds of a training step of each row."""
    passes = [(parse_variant(row.variant), TRAINING_PASSES * row.batch) for row in rows]
    operations = [2e9 * count_gflops(variant) * images for variant, images in passes]
    written = [written_by(variant, 32) * images for variant, images in passes]
    return operations, written, [1 / row.rate for row in rows]


def _fitted(rows: Sequence[Measured]) -> Passes:
    """Least squares of relative errors, with no negative time."""
    operations, written, seconds = _arithmetic(rows)
    relative = np.array([operations, written]).T / np.array(seconds)[:, None]
    scale = relative.max(axis=0)
    found = nnls(relative / scale, np.ones(len(rows)))[0] / scale
    return Passes(*(1 / each if each > 0 else float("inf") for each in found.tolist()))


def _named(precision: str, compiled: bool) -> str:
    return f"{precision}, {'compiled' if compiled else 'eager'}"
