"""Claims between families: at equal Gflops one has the lower metric than another, and the gap does not close with size.

Claim 0 of the paper, transformer over U-Net, is the first half of one. Both families were trained for equal steps on
equal batches, so equal Gflops are equal training compute. The halves:

- **lower at equal Gflops**: pairs of one variant of each family, Gflops equal within ``EQUAL_GFLOPS_RATIO``, judged by
  the rules of ``claims.verdicts`` as claims 1 to 3.
- **the gap keeps half its size**: the gap of a pair is its difference of ln metric. A line is fitted to the gaps
  against ln Gflops (least squares), and the half says that at the largest Gflops of the pairs the line's gap is below
  half of its gap at the smallest: g_last - g_first / 2 < 0. That is a contrast of the variants' ln metric: *supported*
  where it is below 0, one-sided p < alpha, *contradicted* where it is above 0, one-sided p < alpha / 2, else
  *inconclusive*; *not testable* where the pairs' Gflops do not differ by more than that ratio.

The verdict: contradicted where the first half is, or where it is supported (or a weaker kind) and the second is
contradicted; supported (or a weaker kind, as the first half) where both are;
supported in part where the first is and the second is open, which is named; else as the first half.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dit_scaling.claims.claim_of_pairs import judge_claim
from dit_scaling.claims.comparisons import EQUAL_GFLOPS_RATIO, Pair, family_pairs
from dit_scaling.claims.contrasts import contrast
from dit_scaling.claims.noise import Estimate
from dit_scaling.claims.verdicts import SUPPORT, Claim, Evidence, Half, Verdict
from dit_scaling.common.errors import UserError
from dit_scaling.common.spelling import did_you_mean

LOWER = f"lower at equal Gflops (within a factor of {EQUAL_GFLOPS_RATIO})"
KEPT = "the gap keeps half its size as models grow"


def parse_family_claims(texts: Sequence[str], families: Iterable[str]) -> list[tuple[str, str]]:
    """Better and other family of claims in words, each "A over B", on a table of these ``families``.

    Raises:
        UserError: a text has another form, or names a family that the table lacks.
    """
    known, claims = sorted(set(families)), []
    for text in texts:
        better, *others = (family.strip() for family in re.split(r"\s+over\s+", f" {text} "))
        if len(others) != 1:
            raise UserError(f'--families "{text}": name each claim like "DiT@flow over DiT", one an option.')
        for family in (better, *others):
            if family not in known:
                hint = did_you_mean(family, known)
                raise UserError(
                    f'--families "{text}": no variant is of family {family or "(none)"}; there are '
                    f"{', '.join(known)}.{hint}"
                )
        claims.append((better, others[0]))
    return claims


def judge_families(number: str, favoured: str, other: str, evidence: Evidence, statement: str = "") -> Claim:
    """The whole claim, of both halves, on two families of the evidence."""
    first = judge_lower(number, favoured, other, evidence, statement or _statement(favoured, other))
    members = {e.variant for e in evidence.usable}
    pairs = [pair for pair in _pairs(favoured, other, evidence) if {e.variant for e in pair} <= members]
    second = _judge_gap(pairs, evidence)
    verdict, qualification = _decide(first, second)
    return replace(
        first,
        verdict=verdict,
        qualification=qualification,
        reason=f"{LOWER}: {first.verdict} ({first.reason.rstrip('.')}); {KEPT}: {second.verdict} ({second.reason}).",
        halves=(Half(LOWER, first.verdict, first.reason), second),
    )


def judge_lower(number: str, favoured: str, other: str, evidence: Evidence, statement: str) -> Claim:
    """The first half alone, as claim 0 has it."""
    absent = f"no pair of {favoured} and {other} with Gflops equal within a factor of {EQUAL_GFLOPS_RATIO} was run"
    missing = [name for name in (other, favoured) if not any(e.family == name for e in evidence.estimates)]
    if missing:
        absent = f"{missing[0]} was not run"
    return judge_claim(number, statement, _pairs(favoured, other, evidence), evidence, absent, lambda _: "all")


def _statement(favoured: str, other: str) -> str:
    return f"At equal Gflops {favoured} has a lower metric than {other}, and the gap does not close with size"


def _pairs(favoured: str, other: str, evidence: Evidence) -> list[Pair]:
    members: list[list[Estimate]] = [[e for e in evidence.estimates if e.family == name] for name in (favoured, other)]
    return family_pairs(*members)


def _judge_gap(pairs: Sequence[Pair], evidence: Evidence) -> Half:
    places = np.array([(math.log(a.gflops) + math.log(b.gflops)) / 2 for a, b in pairs])
    if len(pairs) < 2 or np.ptp(places) <= math.log(EQUAL_GFLOPS_RATIO):
        return Half(KEPT, "not testable", "the pairs have one size only")
    weights = _line_at(places, places.max()) - _line_at(places, places.min()) / 2
    signed = [
        (member, sign * float(weight))
        for pair, weight in zip(pairs, weights, strict=True)
        for member, sign in zip(pair, (1, -1), strict=True)
    ]
    kept = contrast(signed, evidence.noise)
    gaps = np.array([a.ln_metric - b.ln_metric for a, b in pairs])
    first, last = (100 * math.expm1(float(_line_at(places, place) @ gaps)) for place in (places.min(), places.max()))
    reason = (
        f"the gap goes from {first:+.1f}% at {math.exp(places.min()):.3g} Gflops to {last:+.1f}% at "
        f"{math.exp(places.max()):.3g}, p = {kept.p_for:.2g} for half or more of it kept"
    )
    verdict: Verdict = "inconclusive"
    if kept.p_for < evidence.alpha:
        verdict = "supported"
    elif kept.p_against < evidence.alpha / 2:
        verdict = "contradicted"
    return Half(KEPT, verdict, reason)


def _line_at(places: NDArray[np.float64], place: float) -> NDArray[np.float64]:
    """Weights by which values at ``places`` make the least-squares line's value at ``place``."""
    centred = places - places.mean()
    return np.asarray(1 / len(places) + centred * (place - places.mean()) / (centred @ centred))


def _decide(first: Claim, second: Half) -> tuple[Verdict, str]:
    if "contradicted" in (first.verdict, second.verdict) and first.verdict in (*SUPPORT, "contradicted"):
        return "contradicted", f"the gap closes: {KEPT} is contradicted" if first.verdict in SUPPORT else ""
    if first.verdict in SUPPORT and second.verdict != "supported":
        how = "not tested" if second.verdict == "not testable" else "undecided"
        average = f" on average, {first.qualification}" if first.qualification else ""
        return "supported in part", f"{LOWER}{average}; {how}: {KEPT}"
    return first.verdict, first.qualification
