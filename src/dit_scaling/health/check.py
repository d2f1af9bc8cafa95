"""The one contract of all checks: what was measured, what was expected, how near that was, and what a failure means."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """The outcome of one check, in words for people."""

    name: str
    value: str
    expected: str
    passed: bool
    meaning: str
    """What a failure usually means, and where to look."""
    margin: float | None = None
    """Distance of the value from its nearest limit: as a share of that limit, or, where there are two, of half of the
    range between them. Below zero beyond the limit; None where the check is met or not, with nothing between."""


def within(name: str, value: float, low: float, high: float, meaning: str) -> Check:
    """Passes where low <= value <= high; NaN fails."""
    margin = margin_between((value,), low, high)
    return Check(name, f"{value:.4g}", f"{low:.4g} to {high:.4g}", low <= value <= high, meaning, margin)


def at_most(name: str, value: float, limit: float, meaning: str) -> Check:
    """For errors and distances: passes where value <= limit; NaN fails."""
    margin = _margin(limit - value, abs(limit))
    return Check(name, f"{value:.3g}", f"at most {limit:.3g}", value <= limit, meaning, margin)


def at_least(name: str, value: float, limit: float, meaning: str) -> Check:
    """For shares and correlations: passes where value >= limit; NaN fails."""
    # A share of all or nothing less is met or not: no value is beyond it.
    margin = None if value == limit == 1 else _margin(value - limit, abs(limit))
    return Check(name, f"{value:.3g}", f"at least {limit:.3g}", value >= limit, meaning, margin)


def margin_between(values: Sequence[float], low: float, high: float) -> float | None:
    """The smallest margin of several values, each of which lies between two limits; see `Check.margin`."""
    distances = [distance for value in values for distance in (value - low, high - value)]
    return _margin(math.nan if any(map(math.isnan, distances)) else min(distances), (high - low) / 2)


def describe_margin(margin: float | None) -> str:
    """Like +59.0%; a dash where there is none."""
    return "–" if margin is None else f"{margin:+,.1%}"


def nearest(checks: Sequence[Check]) -> Check | None:
    """The check whose value is nearest to its limit, or farthest beyond it; None where none has a margin."""
    measured = [(check.margin, check) for check in checks if check.margin is not None]
    return min(measured, key=lambda pair: pair[0])[1] if measured else None


def _margin(distance: float, scale: float) -> float | None:
    """None also where a number is none, or a range has no width."""
    return distance / scale if math.isfinite(distance) and scale > 0 else None


def describe_failures(checks: Sequence[Check]) -> str:
    """One paragraph per failed check: name, value, expected, meaning. Causes stand before their consequences."""
    failed = [check for check in checks if not check.passed]
    lines = [f"{len(failed)} of {len(checks)} checks failed."]
    lines += [f"{c.name}: is {c.value}, expected {c.expected}. It usually means: {c.meaning}." for c in failed]
    return "\n".join(lines)
