"""Claim 3: Gflops, rather than the number of parameters, go with the metric."""

import dataclasses

from dit_scaling.claims.comparisons import equal_params_pairs, gflops_exceptions
from dit_scaling.claims.correlations import MIN_VARIANTS, Correlations, DependentTest, correlate
from dit_scaling.claims.noise import homogeneity_p
from dit_scaling.claims.verdicts import Claim, Evidence, PairsVerdict, Verdict, confidence_of, judge_pairs

NUMBER = "3"
STATEMENT = "Gflops, rather than the number of parameters, go with the metric"


def judge_gflops(evidence: Evidence) -> Claim:
    """Claim 3 by the rules of ``dit_scaling.claims.verdicts``."""
    usable = evidence.usable
    judged = judge_pairs(equal_params_pairs(evidence.estimates), evidence, "no size was run at two patches")
    correlations = correlate(usable)
    if len({e.size for e in evidence.estimates if e.variant not in evidence.bottlenecks}) < 2:
        return Claim(NUMBER, STATEMENT, "not testable", "fewer than two sizes to judge, so parameters do not vary.")
    if not judged.comparisons:
        return Claim(NUMBER, STATEMENT, judged.verdict, f"{judged.reason}.", correlations=correlations)
    if len({e.size for e in usable}) < 2:
        return Claim(NUMBER, STATEMENT, "inconclusive", "only one size made images, so parameters do not vary.")
    verdict, reason = _decide(evidence, judged, correlations)
    exceptions = gflops_exceptions(usable, evidence.noise, evidence.alpha)
    misplaced = f"{len(exceptions)} pair{'' if len(exceptions) == 1 else 's'} that Gflops misplace"
    remainder = _describe_remainder(correlations, evidence)
    return Claim(
        claim=NUMBER,
        statement=STATEMENT,
        verdict=verdict,
        reason=f"{reason}{remainder}; {misplaced}; noise: {evidence.noise.source}.",
        effect=judged.pooled.mean if judged.pooled else None,
        confidence=confidence_of(judged.pooled, evidence.alpha),
        comparisons=judged.comparisons,
        exceptions=exceptions,
        correlations=correlations,
    )


def _decide(evidence: Evidence, judged: PairsVerdict, correlations: Correlations | None) -> tuple[Verdict, str]:
    pairs = f"at equal size {judged.reason}"
    if correlations is not None and correlations.williams is None and judged.verdict == "supported":
        r2_gflops, r2_params = correlations.r2_gflops, correlations.r2_params
        if r2_params > r2_gflops:
            return "inconclusive", (
                f"parameters explain more than Gflops (R^2 of the ln metric {r2_params:.3f} and {r2_gflops:.3f}), "
                f"which {len(evidence.usable)} variants are too few to test; {pairs}"
            )
    if correlations is None or correlations.williams is None:
        few = f"with {len(evidence.usable)} variants the correlations decide nothing, equal sizes do: "
        return judged.verdict, f"{few if len(evidence.usable) < MIN_VARIANTS else ''}{pairs}"
    p_equal = homogeneity_p(evidence.usable, evidence.noise)
    if p_equal >= evidence.alpha:
        return "inconclusive", f"the {evidence.metric} of all variants lie within their noise (p = {p_equal:.2g})"
    test = correlations.williams
    explained = _describe_test(correlations, test)
    if test.p_params < evidence.alpha / 2:
        return "contradicted", f"parameters explain more than Gflops: {explained}; {pairs}"
    halved = dataclasses.replace(evidence, alpha=evidence.alpha / 2)
    if judge_pairs(equal_params_pairs(evidence.usable), halved, absent="").verdict == "contradicted":
        return "contradicted", f"{pairs}; {explained}"
    if test.p_gflops < evidence.alpha and judged.verdict == "supported":
        return "supported", f"{explained}, and {pairs}"
    return "inconclusive", f"correlations and pairs do not both favour Gflops beyond noise: {explained}; {pairs}"


def _describe_test(correlations: Correlations, test: DependentTest) -> str:
    return (
        f"R^2 of the ln metric on ln Gflops is {correlations.r2_gflops:.3f}, on ln params {correlations.r2_params:.3f} "
        f"(Williams t({test.df}) = {test.t:.1f}, one-sided p = {test.p_gflops:.2g})"
    )


def _describe_remainder(correlations: Correlations | None, evidence: Evidence) -> str:
    """What it means for the claim that two measures, parameters and tokens, explain more than Gflops."""
    if correlations is None or correlations.williams is None or correlations.r2_params_tokens is None:
        return ""
    both, p = correlations.r2_params_tokens, correlations.p_tokens
    detail = f"(R^2 {both:.3f}, exponents {correlations.exponent_params:+.2f} and {correlations.exponent_tokens:+.2f})"
    if p is None or p >= evidence.alpha:
        return f"; params and tokens together {detail} explain no more than Gflops alone beyond chance"
    return (
        f"; params and tokens together explain more than Gflops {detail}, F-test p = {p:.2g}, so Gflops do not tell "
        f"the whole: it matters too whether they are spent on parameters or on tokens"
    )
