"""The one contract of all checks: what was measured, what was expected, and what a failure usually means."""

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


def within(name: str, value: float, low: float, high: float, meaning: str) -> Check:
    """Passes where low <= value <= high; NaN fails."""
    return Check(name, f"{value:.4g}", f"{low:.4g} to {high:.4g}", low <= value <= high, meaning)


def at_most(name: str, value: float, limit: float, meaning: str) -> Check:
    """For errors and distances: passes where value <= limit; NaN fails."""
    return Check(name, f"{value:.3g}", f"at most {limit:.3g}", value <= limit, meaning)


def at_least(name: str, value: float, limit: float, meaning: str) -> Check:
    """For shares and correlations: passes where value >= limit; NaN fails."""
    return Check(name, f"{value:.3g}", f"at least {limit:.3g}", value >= limit, meaning)


def describe_failures(checks: Sequence[Check]) -> str:
    """One paragraph per failed check: name, value, expected, meaning. Causes stand before their consequences."""
    failed = [check for check in checks if not check.passed]
    lines = [f"{len(failed)} of {len(checks)} checks failed."]
    lines += [f"{c.name}: is {c.value}, expected {c.expected}. It usually means: {c.meaning}." for c in failed]
    return "\n".join(lines)
