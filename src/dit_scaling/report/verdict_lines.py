"""The verdicts as lines for a terminal, in the sentences of the report's first screen."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from dit_scaling.claims.verdicts import Claim
from dit_scaling.report.claims_file import read_claims
from dit_scaling.report.outcome import conclude, say_condition, say_exclusions, say_untested
from dit_scaling.report.sentences import ABSENT, say
from dit_scaling.report.style import shorten


def describe_outcome(claims: Path, variants: Iterable[str]) -> list[str]:
    """The outcome of claims.json, a line for each claim that was tested, what was left out, and the condition.

    Raises:
        UserError: the file is missing or no report on claims.
    """
    report, names = read_claims(claims), shorten(variants)
    judged = sorted(report.claims, key=lambda claim: claim.claim)
    verdicts = [tell_claim(claim, names) for claim in judged if claim.verdict != ABSENT]
    around = say_exclusions(report, names), say_condition(report)
    return [line for line in (f"{conclude(judged)}.", *verdicts, *around) if line]


def tell_claim(claim: Claim, names: Mapping[str, str]) -> str:
    """One claim in a line; ``names`` are the variants' names as sentences have them."""
    if claim.verdict == ABSENT:
        return f"Not tested: {say_untested(claim)}"
    said = say(claim, names)
    return f"Claim {said.name} ({said.topic}): {claim.verdict}. {said.finding} {said.more}".rstrip()
