"""Claim 3: Gflops, rather than the number of parameters, go with the metric; its two halves, by ``verdicts``."""

from dit_scaling.claims.comparisons import equal_params_pairs, gflops_exceptions, patch_step
from dit_scaling.claims.contrasts import homogeneity_p
from dit_scaling.claims.correlations import MIN_VARIANTS, Correlations, correlate
from dit_scaling.claims.pairs_verdict import PairsVerdict, confidence_of, judge_pairs
from dit_scaling.claims.verdicts import SUPPORT, Claim, Evidence, Half, Verdict, describe_level
from dit_scaling.common.words import count

NUMBER = "3"
STATEMENT = "Gflops, rather than the number of parameters, go with the metric"
GFLOPS_HELP = "at equal parameters more Gflops help"
PARAMETERS_DO_NOT = "at equal Gflops parameters do not"


def judge_gflops(evidence: Evidence) -> Claim:
    """Claim 3 by the rules of ``dit_scaling.claims.verdicts``."""
    usable = evidence.usable
    judged = judge_pairs(equal_params_pairs(evidence.estimates), evidence, "no size was run at two patches", patch_step)
    correlations = correlate(usable, evidence.alpha)
    if len({e.size for e in evidence.estimates if e.variant not in evidence.bottlenecks}) < 2:
        return Claim(NUMBER, STATEMENT, "not testable", "fewer than two sizes to judge, so parameters do not vary.")
    sizes = len({e.size for e in usable})
    if sizes < 2:
        reason = "only one size made images, so parameters do not vary" if sizes else judged.reason
        return Claim(NUMBER, STATEMENT, "inconclusive", f"{reason}.")
    halves = (Half(GFLOPS_HELP, judged.verdict, judged.reason), _judge_correlations(correlations, evidence))
    verdict, qualification, lead = _decide(judged, halves[1], correlations)
    exceptions = gflops_exceptions(usable, evidence.noise, evidence.alpha)
    misplaced = f"{count(len(exceptions), 'pair')} that Gflops misplace"
    parts = "; ".join(f"{half.statement}: {half.verdict} ({half.reason})" for half in halves)
    remainder = _describe_remainder(correlations, evidence)
    return Claim(
        claim=NUMBER,
        statement=STATEMENT,
        verdict=verdict,
        reason=f"{lead}{parts}{remainder}; {misplaced}.",
        qualification=qualification,
        effect=judged.pooled.mean if judged.pooled else None,
        confidence=confidence_of(judged.pooled, evidence.alpha),
        steps=judged.steps,
        comparisons=judged.comparisons,
        halves=halves,
        exceptions=exceptions,
        correlations=correlations,
    )


def _judge_correlations(correlations: Correlations | None, evidence: Evidence) -> Half:
    """The second half: whether the metric goes closer with Gflops than with parameters."""
    usable = evidence.usable
    if len(usable) < MIN_VARIANTS:
        return Half(PARAMETERS_DO_NOT, "not testable", f"{count(len(usable), 'variant')}, and it takes {MIN_VARIANTS}")
    if correlations is None or correlations.advantage is None:
        return Half(PARAMETERS_DO_NOT, "not testable", "Gflops, parameters or metric do not vary apart from each other")
    advantage, test = correlations.advantage, correlations.williams
    reason = (
        f"R^2 of the ln metric on ln Gflops is {correlations.r2_gflops:.3f}, on ln params "
        f"{correlations.r2_params:.3f}; correlation with Gflops minus that with params {advantage.difference:+.2f}, "
        f"{describe_level(advantage.level)} interval {advantage.low:+.2f} to {advantage.high:+.2f}"
    )
    if test is not None:
        reason += f"; Williams t({test.df}) = {test.t:.1f}, one-sided p = {test.p_gflops:.2g}"
    verdict: Verdict = "inconclusive"
    if homogeneity_p(usable, evidence.noise) < evidence.alpha:
        if advantage.low > 0 and correlations.pearson_gflops_ln < 0:
            verdict = "supported"
        elif advantage.high < 0:
            verdict = "contradicted"
    return Half(PARAMETERS_DO_NOT, verdict, reason)


def _decide(judged: PairsVerdict, second: Half, correlations: Correlations | None) -> tuple[Verdict, str, str]:
    """The verdict on both halves, its qualification, and what the reason begins with."""
    verdicts = (judged.verdict, second.verdict)
    if "contradicted" in verdicts:
        return "contradicted", "", "parameters explain more than Gflops; " if verdicts[1] == "contradicted" else ""
    if judged.verdict in SUPPORT and second.verdict == "supported":
        return judged.verdict, judged.qualification, ""
    if "not testable" in verdicts:
        both = verdicts == ("not testable", "not testable")
        return "not testable" if both else "inconclusive", "", "" if both else "one half cannot be tested; "
    if second.verdict == "supported":
        return "supported in part", f"{PARAMETERS_DO_NOT}; undecided: {GFLOPS_HELP}", ""
    if judged.verdict not in ("supported", "supported on average"):
        return "inconclusive", "", ""
    if correlations is not None and correlations.r2_params >= correlations.r2_gflops:
        r2 = f"{correlations.r2_params:.3f} and {correlations.r2_gflops:.3f}"
        return "inconclusive", "", f"parameters explain as much as Gflops or more (R^2 of the ln metric {r2}); "
    average = f" on average, {judged.qualification}" if judged.qualification else ""
    return "supported in part", f"{GFLOPS_HELP}{average}; undecided: {PARAMETERS_DO_NOT}", ""


def _describe_remainder(correlations: Correlations | None, evidence: Evidence) -> str:
    """What it means for the claim that two measures, parameters and tokens, explain more than Gflops."""
    if correlations is None or correlations.advantage is None or correlations.r2_params_tokens is None:
        return ""
    both, p = correlations.r2_params_tokens, correlations.p_tokens
    detail = f"(R^2 {both:.3f}, exponents {correlations.exponent_params:+.2f} and {correlations.exponent_tokens:+.2f})"
    if p is None or p >= evidence.alpha:
        return f"; params and tokens together {detail} explain no more than Gflops alone beyond chance"
    return (
        f"; params and tokens together explain more than Gflops {detail}, F-test p = {p:.2g}, so Gflops do not tell "
        f"the whole: it matters too whether they are spent on parameters or on tokens"
    )
