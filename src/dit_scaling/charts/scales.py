"""From values to places: logarithmic and linear axes with few, round ticks, and units without leading zeros."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

SUBDIVISIONS: tuple[tuple[float, ...], ...] = (
    (1, 1.5, 2, 3, 4, 5, 6, 8),
    (1, 2, 3, 5),
    (1, 2, 5),
    (1, 3),
    (1,),
)
"""Ticks within a decade, from dense to sparse."""
FEWEST_LOG_DECADES = 0.15
"""Narrower logarithmic axes take the ticks of a linear one."""


@dataclass(frozen=True)
class Scale:
    """An axis from ``low`` to ``high``, logarithmic or linear."""

    low: float
    high: float
    log: bool = True

    def place(self, value: float) -> float:
        """0 at ``low``, 1 at ``high``."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self, most: int) -> list[float]:
        """At most ``most`` round values within the axis."""
        if self.log and math.log10(self.high / self.low) > FEWEST_LOG_DECADES:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            for factors in SUBDIVISIONS:
                found = [f * 10.0**d for d in decades for f in factors if self.low <= f * 10.0**d <= self.high]
                if len(found) <= most:
                    break
            else:
                found = found[:: math.ceil(len(found) / most)]
            if len(found) > 1:
                return found
        values = MaxNLocator(nbins=max(1, most - 1), steps=[1, 2, 2.5, 5, 10]).tick_values(self.low, self.high)
        return [float(value) for value in values if self.low <= value <= self.high]


def log_scale(values: Iterable[float]) -> Scale:
    """A logarithmic axis a little wider than its values; wide enough for a single one."""
    found = list(values)
    margin = 1.04 * (max(found) / min(found)) ** 0.06
    return Scale(min(found) / margin, max(found) * margin)


def describe_tick(value: float) -> str:
    """A tick: 0.5, 20, 2,000."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def describe_steps(value: float) -> str:
    """A number of steps: 500, 10k, 2.5k, 1.5M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


@dataclass(frozen=True)
class Unit:
    """A value is ``size`` of what it counts: (1e6, "million", "M")."""

    size: float
    word: str
    sign: str

    def of(self, value: float) -> str:
        """A value in this unit, three digits: "0.462 M"."""
        return f"{value / self.size:.3g} {self.sign}".rstrip()


UNITS = (
    Unit(1.0, "", ""),
    Unit(1e3, "thousand", "k"),
    Unit(1e6, "million", "M"),
    Unit(1e9, "billion", "G"),
    Unit(1e12, "trillion", "T"),
    Unit(1e15, "10¹⁵", "P"),
    Unit(1e18, "10¹⁸", "E"),
    Unit(1e21, "10²¹", "Z"),
)


def choose_unit(values: Sequence[float]) -> Unit:
    """The largest unit in which the smallest value is no less than a tenth."""
    return max((unit for unit in UNITS if min(values) >= 0.1 * unit.size), key=lambda unit: unit.size, default=UNITS[0])
