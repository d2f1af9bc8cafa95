"""Measuring a row: results compared, then both sides in turn."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.row import Row, Side

ROUNDS = 7
LEAST_SECONDS = 0.5
"""A side runs in each round until it has taken so long."""


@dataclass(frozen=True)
class Round:
    """Mean seconds of one run of each side, measured one after the other."""

    ours: float
    peer: float

    @property
    def ratio(self) -> float:
        """The peer's seconds over ours."""
        return self.peer / self.ours


@dataclass(frozen=True)
class Measured:
    """What measuring a row gave."""

    rounds: tuple[Round, ...]
    agreement: str
    target: float

    @property
    def ratio(self) -> float:
        """Median over rounds."""
        return statistics.median(one.ratio for one in self.rounds)

    @property
    def spread(self) -> float:
        """Largest minus smallest ratio of a round."""
        ratios = [one.ratio for one in self.rounds]
        return max(ratios) - min(ratios)

    @property
    def met(self) -> bool:
        """Whether the ratio reaches the target."""
        return self.ratio >= self.target


def measure(row: Row, ours: Side, peer: Side, rounds: int = ROUNDS, least_seconds: float = LEAST_SECONDS) -> Measured:
    """Compare the two sides' results, then time them in turn.

    Raises:
        DisagreementError: the results differ; nothing is timed then.
        UnavailableError: the row cannot be measured here.
    """
    ours.seconds(), peer.seconds()  # warms both up
    agreement = row.agree(ours.outcome(), peer.outcome())
    found = alternate(ours, peer, rounds, least_seconds)
    return Measured(tuple(found), agreement, row.target(statistics.median(one.peer for one in found)))


def alternate(ours: Side, peer: Side, rounds: int, least_seconds: float) -> list[Round]:
    """Both sides in every round, first the one and then the other by turns."""
    found = []
    for number in range(rounds):
        order: Sequence[Side] = (ours, peer) if number % 2 == 0 else (peer, ours)
        taken = {id(side): mean_seconds(side, least_seconds) for side in order}
        found.append(Round(taken[id(ours)], taken[id(peer)]))
    return found


def mean_seconds(side: Side, least_seconds: float) -> float:
    """Mean of as many runs as take ``least_seconds`` together, at least one."""
    total, runs = 0.0, 0
    while runs == 0 or total < least_seconds:
        total += side.seconds()
        runs += 1
    return total / runs
