"""What a row of the table is: two ways to the same result, and how much faster ours has to be."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

Outcome = Mapping[str, ArrayLike]
"""Named numbers that both sides have to agree on."""

NAMED = 3
"""Results that a sentence names one by one; more are counted."""


class DisagreementError(Exception):
    """The two sides give different results, so that their times mean nothing."""


class UnavailableError(Exception):
    """A row cannot be measured here; says what is missing."""


@dataclass(frozen=True)
class Setting:
    """How a row is to be measured."""

    quick: bool
    """Small sizes, to try the harness; the ratios mean little."""
    folder: Path
    """Empty, and deleted afterwards."""

    def choose(self, full: int, quick: int) -> int:
        """One of two sizes."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Side:
    """One of the two ways, ready to run."""

    seconds: Callable[[], float]
    """Run once; how long it took."""
    outcome: Callable[[], Outcome]
    """The result of the runs so far, to compare."""


def timed(run: Callable[[], object], outcome: Callable[[], Outcome] = dict) -> Side:
    """A side that the clock on the wall measures."""

    def seconds() -> float:
        started = time.perf_counter()
        run()
        return time.perf_counter() - started

    return Side(seconds, outcome)


@dataclass(frozen=True)
class Row:
    """A row of the table. Its ratio is the peer's seconds over ours."""

    name: str
    what: str
    peer: str
    make_ours: Callable[[Setting], Side]
    make_peer: Callable[[Setting], Side]
    agree: Callable[[Outcome, Outcome], str]
    """Says in which way the two outcomes are equal.

    Raises:
        DisagreementError: they are not.
    """
    target: Callable[[float], float]
    """The ratio to reach, from the peer's seconds."""
    threads: int = 2

    @property
    def yardstick(self) -> bool:
        """Whether the peer does other work, by which ours is only measured."""
        return self.agree is nothing_in_common


def at_least(ratio: float) -> Callable[[float], float]:
    """A target that does not depend on the peer."""
    return lambda _peer_seconds: ratio


def at_most_seconds(seconds: float) -> Callable[[float], float]:
    """The ratio at which ours takes so many seconds."""
    return lambda peer_seconds: peer_seconds / seconds


def at_most_more(seconds: float) -> Callable[[float], float]:
    """The ratio at which ours takes so many seconds more than the peer."""
    return lambda peer_seconds: peer_seconds / (peer_seconds + seconds)


def equal_within(tolerance: float) -> Callable[[Outcome, Outcome], str]:
    """Agreement of all numbers by name, relative to the largest of each name."""

    def agree(ours: Outcome, peer: Outcome) -> str:
        if ours.keys() != peer.keys():
            raise DisagreementError(f"ours gives {', '.join(ours)}, the peer {', '.join(peer)}")
        for name in ours:
            a, b = np.asarray(ours[name], dtype=np.float64), np.asarray(peer[name], dtype=np.float64)
            if a.shape != b.shape:
                raise DisagreementError(f"{name}: shapes {a.shape} and {b.shape}")
            worst = float(np.abs(a - b).max(initial=0.0))
            if not worst <= tolerance * float(np.abs(b).max(initial=0.0)):
                raise DisagreementError(f"{name}: differs by {worst:.3g}, with {tolerance:g} of the largest allowed")
        names = ", ".join(ours) if len(ours) <= NAMED else f"{len(ours)} results"
        return f"{names} within {tolerance:g}"

    return agree


def nothing_in_common(_ours: Outcome, _peer: Outcome) -> str:
    """For peers that do other work, by which ours is only measured."""
    return "a yardstick, nothing to compare"
