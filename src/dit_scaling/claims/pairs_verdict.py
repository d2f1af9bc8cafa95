"""What the pairs of a claim say, by the rules of ``dit_scaling.claims.verdicts``."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dit_scaling.claims.comparisons import (
    Comparison,
    Pair,
    PooledEffect,
    Step,
    compare,
    holm,
    neighbours_of,
    pool,
    steps_of,
)
from dit_scaling.claims.contrasts import homogeneity_p
from dit_scaling.claims.verdicts import Confidence, Evidence, Verdict, describe_level


@dataclass(frozen=True)
class PairsVerdict:
    """What the pairs of a claim say: the verdict and its limits, half a sentence of reason, the tests, the mean."""

    verdict: Verdict
    reason: str
    qualification: str = ""
    comparisons: tuple[Comparison, ...] = ()
    steps: tuple[Step, ...] = ()
    pooled: PooledEffect | None = None


def judge_pairs(pairs: Sequence[Pair], evidence: Evidence, absent: str, step: Callable[[Pair], str]) -> PairsVerdict:
    """Judge the claim that in every one of ``pairs`` the favoured variant has the lower metric.

    Args:
        pairs: all pairs of the claim, neighbours and others.
        evidence: the variants, their noise, and those that are no evidence.
        absent: the reason where there are no pairs.
        step: the name of the step that a pair of neighbours makes.
    """
    if not pairs:
        return PairsVerdict("not testable", absent)
    able = [pair for pair in pairs if not _members(pair) & evidence.bottlenecks]
    if not able:
        return PairsVerdict("not testable", f"{_each(pairs)} has a variant declared a bottleneck")
    left = [pair for pair in able if not _members(pair) & evidence.imageless]
    if not left:
        return PairsVerdict(
            "inconclusive",
            f"{_each(able)} has a variant that made no images: its {evidence.metric} is not told apart "
            f"from that of decoded noise",
        )
    noise, alpha = evidence.noise, evidence.alpha
    near = neighbours_of(left)
    comparisons, pooled = compare(left, noise, alpha), pool(near, noise, alpha)
    steps = steps_of(near, step, noise, alpha)
    members = {e.variant: e for pair in left for e in pair}
    p_equal = homogeneity_p(list(members.values()), noise)
    if p_equal >= alpha:
        verdict, qualification, lead = _inconclusive(
            f"the {evidence.metric} of all variants lie within their noise (p = {p_equal:.2g})"
        )
    else:
        verdict, qualification, lead = _decide(near, comparisons, steps, pooled, evidence)
    reason = f"{lead}; {_count(comparisons)}, {describe_effect(pooled, evidence)}{_describe_steps(steps)}"
    return PairsVerdict(verdict, reason, qualification, comparisons, steps, pooled)


def confidence_of(pooled: PooledEffect | None, alpha: float) -> Confidence | None:
    """The pooled effect's interval as a claim's confidence."""
    return None if pooled is None else Confidence(1 - alpha, pooled.low, pooled.high, pooled.p)


def describe_effect(pooled: PooledEffect, evidence: Evidence) -> str:
    """The pooled effect in words: "fid50k changes by -43.1% a step on average (95% interval -46.0% to -40.2%)"."""
    mean, low, high = (100 * math.expm1(x) for x in (pooled.mean, pooled.low, pooled.high))
    level = f"{describe_level(1 - evidence.alpha)} interval"
    return f"{evidence.metric} changes by {mean:+.1f}% a step on average ({level} {low:+.1f}% to {high:+.1f}%)"


def _decide(
    near: Sequence[Pair],
    comparisons: Sequence[Comparison],
    steps: Sequence[Step],
    pooled: PooledEffect,
    evidence: Evidence,
) -> tuple[Verdict, str, str]:
    """The verdict, its qualification and the lead of its reason, for variants that differ beyond noise."""
    against = [f"{c.favoured} and {c.other}" for c in comparisons if c.outcome == "resolved against"]
    if against:
        return "contradicted", "", f"beyond noise the wrong way: {', '.join(against)}"
    wrong = [f"{c.favoured} over {c.other}" for c in comparisons if c.neighbours and c.effect >= 0]
    if wrong:
        tied = any(c.neighbours and c.effect == 0 for c in comparisons)
        way = "do not point the claimed way" if tied else "point the wrong way"
        named = f"{len(wrong)} of {len(near)} pairs of neighbours {way} ({', '.join(wrong)})"
        if 2 * len(wrong) >= len(near):
            return _inconclusive(named)
        if pooled.high >= 0:
            return _inconclusive(f"{named}, and the mean is not beyond noise")
        carrying = _carrying(near, evidence)
        if carrying:
            return _inconclusive(f"{named}, and the mean is not beyond noise without {' or without '.join(carrying)}")
        return "supported on average", f"not for {', '.join(wrong)}", f"the mean is beyond noise, but {named}"
    if all(step.effect.p < evidence.alpha for step in steps):
        return (
            "supported",
            "",
            f"every {_noun(steps)} is beyond noise, and every pair of neighbours points the claimed way",
        )
    resolved = holm([step.effect.p for step in steps]) < evidence.alpha
    told = [step.name for step, beyond in zip(steps, resolved, strict=True) if beyond]
    untold = [step.name for step, beyond in zip(steps, resolved, strict=True) if not beyond]
    if told:
        return (
            "supported in part",
            f"from {', from '.join(told)}; not told apart: {', '.join(untold)}",
            "every pair of neighbours points the claimed way, but not every step is beyond noise",
        )
    return _inconclusive("every pair of neighbours points the claimed way, but no step is beyond noise")


def _each(pairs: Sequence[Pair]) -> str:
    return "the only pair" if len(pairs) == 1 else f"each of the {len(pairs)} pairs"


def _inconclusive(lead: str) -> tuple[Verdict, str, str]:
    return "inconclusive", "", lead


def _carrying(near: Sequence[Pair], evidence: Evidence) -> list[str]:
    """Variants without which the mean over neighbours is no longer beyond noise."""
    found = []
    for variant in sorted({name for pair in near for name in _members(pair)}):
        others = [pair for pair in near if variant not in _members(pair)]
        if others and pool(others, evidence.noise, evidence.alpha).high >= 0:
            found.append(variant)
    return found


def _count(comparisons: Sequence[Comparison]) -> str:
    claimed = sum(c.effect < 0 for c in comparisons)
    alone = sum(c.outcome != "unresolved" for c in comparisons)
    widened = sum(c.widened for c in comparisons)
    loud = f" ({widened} WIDENED: fewer than four degrees of freedom)" if widened else ""
    return f"{claimed} of {len(comparisons)} pairs point the claimed way, {alone} resolved alone{loud}"


def _noun(steps: Sequence[Step]) -> str:
    return "step" if len(steps) > 1 else "pair" if steps[0].pairs == 1 else "mean"


def _describe_steps(steps: Sequence[Step]) -> str:
    if len(steps) == 1:
        return ""
    changes = [f"{step.name} {100 * math.expm1(step.effect.mean):+.1f}% (p = {step.effect.p:.2g})" for step in steps]
    return f": {', '.join(changes)}"


def _members(pair: Pair) -> set[str]:
    return {e.variant for e in pair}
