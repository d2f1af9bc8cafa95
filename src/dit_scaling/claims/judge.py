"""From the variants' estimates to the claims."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from dit_scaling.claims.comparisons import (
    EQUAL_GFLOPS_RATIO,
    Pair,
    family_pairs,
    patch_pairs,
    patch_step,
    size_pairs,
    size_step,
)
from dit_scaling.claims.conditions import rest_on_seeds
from dit_scaling.claims.gflops import judge_gflops
from dit_scaling.claims.noise import Estimate, Model
from dit_scaling.claims.pairs_verdict import confidence_of, judge_pairs
from dit_scaling.claims.verdicts import Claim, Evidence
from dit_scaling.common.errors import UserError
from dit_scaling.variants import UNET


def judge(evidence: Evidence, family: str) -> tuple[Claim, ...]:
    """Claims 0 to 3; 1 to 3 on the variants of ``family``."""
    taken = _judge_all(evidence, family)
    unmeasured = [e.variant for e in evidence.usable if not e.measured and e.family in (family, UNET)]
    if not unmeasured:
        return taken
    measured = _judge_all(replace(evidence, estimates=tuple(e for e in evidence.estimates if e.measured)), family)
    return tuple(
        rest_on_seeds(claim, alone, unmeasured, evidence.noise.condition)
        for claim, alone in zip(taken, measured, strict=True)
    )


def _judge_all(evidence: Evidence, family: str) -> tuple[Claim, ...]:
    """The four claims as the noise of ``evidence`` has it, whether measured or assumed."""
    transformers = [e for e in evidence.estimates if e.family == family]
    unets = [e for e in evidence.estimates if e.family == UNET]
    judged = replace(evidence, estimates=tuple(transformers))
    return (
        _judge_families(family, transformers, unets, evidence),
        _judge(
            "1",
            "At equal patch every larger size has the lower metric",
            size_pairs(transformers),
            judged,
            "no two sizes were run at one patch",
            size_step,
        ),
        _judge(
            "2",
            "At equal size every smaller patch has the lower metric",
            patch_pairs(transformers),
            judged,
            "no two patches were run at one size",
            patch_step,
        ),
        judge_gflops(judged),
    )


def _judge(
    number: str,
    statement: str,
    pairs: Sequence[Pair],
    evidence: Evidence,
    absent: str,
    step: Callable[[Pair], str],
) -> Claim:
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


def _judge_families(
    family: str, transformers: Sequence[Estimate], unets: Sequence[Estimate], evidence: Evidence
) -> Claim:
    absent = f"no pair of {family} and {UNET} with Gflops equal within a factor of {EQUAL_GFLOPS_RATIO} was run"
    if not transformers or not unets:
        absent = f"{UNET if transformers else 'a transformer family'} was not run"
    statement = (
        f"At equal Gflops (within a factor of {EQUAL_GFLOPS_RATIO}) the transformer has a lower metric than the U-Net"
    )
    return _judge("0", statement, family_pairs(transformers, unets), evidence, absent, lambda _: "all")


def _scope(members: Sequence[Estimate]) -> str:
    sizes = dict.fromkeys(e.size for e in sorted(members, key=lambda e: (e.params_m, e.size)))
    patches = sorted({e.patch for e in members if e.patch is not None})
    plural = "es" if len(patches) > 1 else ""
    return f"size{'s' if len(sizes) > 1 else ''} {', '.join(sizes)} at patch{plural} {', '.join(map(str, patches))}"


def judged_family(estimates: Sequence[Model]) -> str:
    """The family that claims 1 to 3 are judged on: DiT, or the only one beside ``UNet``.

    Raises:
        UserError: there are several, and DiT is none of them.
    """
    families = sorted({e.family for e in estimates} - {UNET})
    if "DiT" in families or not families:
        return "DiT"
    if len(families) > 1:
        raise UserError(f"The table mixes families ({', '.join(families)}), none of them DiT. Give one a table.")
    return families[0]
