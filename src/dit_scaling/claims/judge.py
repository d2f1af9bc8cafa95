"""From the variants' estimates to the claims."""

from collections.abc import Sequence
from dataclasses import replace

from dit_scaling.claims.between_families import judge_families, judge_lower
from dit_scaling.claims.claim_of_pairs import judge_claim
from dit_scaling.claims.comparisons import (
    EQUAL_GFLOPS_RATIO,
    patch_pairs,
    patch_step,
    size_pairs,
    size_step,
)
from dit_scaling.claims.conditions import rest_on_seeds
from dit_scaling.claims.gflops import judge_gflops
from dit_scaling.claims.noise import Model
from dit_scaling.claims.verdicts import Claim, Evidence
from dit_scaling.common.errors import UserError
from dit_scaling.variants import UNET, network_of

TRANSFORMER_OVER_UNET = (
    f"At equal Gflops (within a factor of {EQUAL_GFLOPS_RATIO}) the transformer has a lower metric than the U-Net"
)


def judge(evidence: Evidence, family: str, families: Sequence[tuple[str, str]] = ()) -> tuple[Claim, ...]:
    """Claims 0 to 3, 1 to 3 on the variants of ``family``; then those that one of two ``families`` is better."""
    taken = _judge_all(evidence, family, families)
    if all(e.measured for e in evidence.usable):
        return taken
    measured = replace(evidence, estimates=tuple(e for e in evidence.estimates if e.measured))
    alone = _judge_all(measured, family, families)

    def unmeasured(claim: Claim) -> list[str]:
        members = {name for pair in claim.comparisons for name in (pair.favoured, pair.other)}
        if claim.correlations:
            members |= {e.variant for e in evidence.usable if e.family == family}
        return [e.variant for e in evidence.usable if not e.measured and e.variant in members]

    return tuple(
        rest_on_seeds(claim, by_seeds, unmeasured(claim), evidence.noise.condition)
        for claim, by_seeds in zip(taken, alone, strict=True)
    )


def _judge_all(evidence: Evidence, family: str, families: Sequence[tuple[str, str]]) -> tuple[Claim, ...]:
    """The claims as the noise of ``evidence`` has it, whether measured or assumed."""
    transformers = [e for e in evidence.estimates if e.family == family]
    judged = replace(evidence, estimates=tuple(transformers))
    return (
        judge_lower("0", family, UNET, evidence, TRANSFORMER_OVER_UNET),
        judge_claim(
            "1",
            "At equal patch every larger size has the lower metric",
            size_pairs(transformers),
            judged,
            "no two sizes were run at one patch",
            size_step,
        ),
        judge_claim(
            "2",
            "At equal size every smaller patch has the lower metric",
            patch_pairs(transformers),
            judged,
            "no two patches were run at one size",
            patch_step,
        ),
        judge_gflops(judged),
        *(judge_families(f"{better} over {than}", better, than, evidence) for better, than in families),
    )


def judged_family(estimates: Sequence[Model], families: Sequence[tuple[str, str]] = ()) -> str:
    """The family that claims 1 to 3 are judged on: DiT, or the only one beside ``UNet``.

    Of several without DiT it is that which the first claim between ``families`` says to be worse.

    Raises:
        UserError: there are several, DiT is none of them, and there is no such claim; or names do not say it.
    """
    nameless = [e.variant for e in estimates if "-" not in e.variant]
    if nameless:
        raise UserError(
            f"The names {', '.join(nameless[:3])} do not say the family. Names are FAMILY-SIZE/PATCH: write DiT-S/8 "
            "for S/8."
        )
    found = sorted({e.family for e in estimates if network_of(e.family) != UNET})
    if "DiT" in found or not found:
        return "DiT"
    if len(found) > 1 and not families:
        raise UserError(f"The table mixes families ({', '.join(found)}), none of them DiT. Give one a table.")
    return found[0] if len(found) == 1 else families[0][1]
