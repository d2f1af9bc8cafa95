"""A claim on pairs of variants, from the verdict on the pairs."""

from collections.abc import Callable, Sequence

from dit_scaling.claims.comparisons import Pair
from dit_scaling.claims.noise import Estimate
from dit_scaling.claims.pairs_verdict import confidence_of, judge_pairs
from dit_scaling.claims.verdicts import Claim, Evidence


def judge_claim(
    number: str,
    statement: str,
    pairs: Sequence[Pair],
    evidence: Evidence,
    absent: str,
    step: Callable[[Pair], str],
) -> Claim:
    """The claim that in every pair the favoured variant has the lower metric; arguments as `judge_pairs`."""
    judged = judge_pairs(pairs, evidence, absent, step)
    compared = {name for c in judged.comparisons for name in (c.favoured, c.other)}
    members = [e for e in evidence.estimates if e.variant in compared]
    scope = f", over {_scope(members)}" if members else ""
    return Claim(
        claim=number,
        statement=statement,
        verdict=judged.verdict,
        reason=f"{judged.reason}{scope}.",
        qualification=judged.qualification,
        effect=judged.pooled.mean if judged.pooled else None,
        confidence=confidence_of(judged.pooled, evidence.alpha),
        steps=judged.steps,
        comparisons=judged.comparisons,
    )


def _scope(members: Sequence[Estimate]) -> str:
    sizes = dict.fromkeys(e.size for e in sorted(members, key=lambda e: (e.params_m, e.size)))
    patches = sorted({e.patch for e in members if e.patch is not None})
    plural = "es" if len(patches) > 1 else ""
    return f"size{'s' if len(sizes) > 1 else ''} {', '.join(sizes)} at patch{plural} {', '.join(map(str, patches))}"
