"""Verdicts and the rules that lead to them.

Claims 0, 1 and 2 each say that in *every* pair of a family of pairs the favoured variant has the lower metric. At
level ``alpha`` (default 0.05) such a claim is

- **not testable**: the table holds no such pair, or each has a variant declared a bottleneck in advance;
- **inconclusive**: every pair that is left has a variant that made no images, or the variants of the pairs lie within
  their noise (F-test of one common metric, p >= alpha), or none of the following holds;
- **contradicted**: at least one pair is resolved against it, one-sided p < alpha after Holm's correction over pairs;
- **supported**: no pair is resolved against it, at least one is resolved for it after Holm's correction, and the
  two-sided 1 - alpha confidence interval of the mean effect over all pairs excludes 0 in the claimed direction. That is
  joint evidence: pairs that differ by less than the noise stay unresolved alone, and are marked so.

Holm's correction holds whatever the dependence of pairs that share variants: the chance that any pair is wrongly
resolved for is at most alpha, and so is that of any wrongly resolved against, however many pairs there are. Where no
variant differs from another, the F-test keeps both together at alpha. This holds within a claim, not over all claims.

Claim 3 says that Gflops, rather than parameters, go with the metric. Its pairs have equal size, so nearly equal
parameters, and different Gflops. They decide among few variants, by the rules above, except that the claim is not
*supported* but inconclusive where parameters explain more of the ln metric than Gflops do: too few to test is no
reason to overlook it. From ``correlations.MIN_VARIANTS`` variants on, Williams' test for dependent correlations has a
say too: *supported* needs both, the pairs and Williams' test in favour of Gflops (p < alpha); *contradicted* is
either, the pairs against or Williams' test in favour of parameters, each at alpha / 2, as either suffices. Sizes that
do not vary make it not testable. That parameters and tokens together explain more than Gflops alone does not change
the verdict: the claim ranks two single measures, and the reason says what is left over.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from dit_scaling.claims.comparisons import Comparison, GflopsException, Pair, PooledEffect, compare, pool
from dit_scaling.claims.correlations import Correlations
from dit_scaling.claims.noise import Estimate, Noise, homogeneity_p

Verdict = Literal["supported", "contradicted", "inconclusive", "not testable"]


@dataclass(frozen=True)
class Confidence:
    """Confidence interval of a claim's effect at ``level``, and the one-sided p-value of the claimed direction."""

    level: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Claim:
    """A claim with its verdict.

    ``effect`` is the mean difference of ln metric over the pairs, favoured variant minus the other: negative is the
    claimed direction, exp(effect) the typical ratio of the metrics. ``exceptions`` and ``correlations`` belong to claim
    3. ``reason`` is one sentence.
    """

    claim: str
    statement: str
    verdict: Verdict
    reason: str
    effect: float | None = None
    confidence: Confidence | None = None
    comparisons: tuple[Comparison, ...] = ()
    exceptions: tuple[GflopsException, ...] = ()
    correlations: Correlations | None = None

    @property
    def unresolved(self) -> tuple[Comparison, ...]:
        """Pairs that are not told apart alone."""
        return tuple(c for c in self.comparisons if c.outcome == "unresolved")


@dataclass(frozen=True)
class Exclusion:
    """A variant that is no evidence, and why."""

    variant: str
    reason: str


@dataclass(frozen=True)
class ClaimsReport:
    """The verdicts on one table of ``metric`` at level ``alpha``; the module says by which rules."""

    claims: tuple[Claim, ...]
    metric: str
    alpha: float
    noise: str
    assumptions: tuple[str, ...]
    exclusions: tuple[Exclusion, ...]

    def __getitem__(self, claim: str) -> Claim:
        """The claim of that number, "0" to "3"."""
        return next(c for c in self.claims if c.claim == claim)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists, numbers and None, ready for JSON: no NaN, no infinity."""
        return asdict(self, dict_factory=lambda items: {k: list(v) if isinstance(v, tuple) else v for k, v in items})


@dataclass(frozen=True)
class Evidence:
    """The variants judged, their noise, and those that are no evidence."""

    estimates: tuple[Estimate, ...]
    noise: Noise
    metric: str
    alpha: float
    bottlenecks: frozenset[str]
    imageless: frozenset[str]

    @property
    def usable(self) -> list[Estimate]:
        return [e for e in self.estimates if e.variant not in self.bottlenecks | self.imageless]


@dataclass(frozen=True)
class PairsVerdict:
    """What the pairs of a claim say: the verdict, half a sentence of reason, the tests and the pooled effect."""

    verdict: Verdict
    reason: str
    comparisons: tuple[Comparison, ...] = ()
    pooled: PooledEffect | None = None


def judge_pairs(pairs: Sequence[Pair], evidence: Evidence, absent: str) -> PairsVerdict:
    """Apply the rules for claims 0 to 2 to ``pairs``; ``absent`` is the reason where there are none."""
    if not pairs:
        return PairsVerdict("not testable", absent)
    able = [pair for pair in pairs if not _members(pair) & evidence.bottlenecks]
    if not able:
        return PairsVerdict("not testable", f"each of the {len(pairs)} pairs has a variant declared a bottleneck")
    left = [pair for pair in able if not _members(pair) & evidence.imageless]
    if not left:
        return PairsVerdict(
            "inconclusive",
            f"each of the {len(able)} pairs has a variant that made no images: its {evidence.metric} is not told apart "
            f"from that of decoded noise",
        )
    comparisons = compare(left, evidence.noise, evidence.alpha)
    pooled = pool(left, evidence.noise, evidence.alpha)
    members = {e.variant: e for pair in left for e in pair}
    p_equal = homogeneity_p(list(members.values()), evidence.noise)
    verdict, lead = _decide(comparisons, pooled, p_equal, evidence)
    return PairsVerdict(
        verdict, f"{lead}; {_count(comparisons)}, {describe_effect(pooled, evidence)}", comparisons, pooled
    )


def confidence_of(pooled: PooledEffect | None, alpha: float) -> Confidence | None:
    """The pooled effect's interval as a claim's confidence."""
    return None if pooled is None else Confidence(1 - alpha, pooled.low, pooled.high, pooled.p)


def describe_effect(pooled: PooledEffect, evidence: Evidence) -> str:
    """The pooled effect in words: "fid50k changes by -43.1% a pair on average (95% interval -46.0% to -40.2%)"."""
    mean, low, high = (100 * math.expm1(x) for x in (pooled.mean, pooled.low, pooled.high))
    level = f"{1 - evidence.alpha:.0%} interval"
    return f"{evidence.metric} changes by {mean:+.1f}% a pair on average ({level} {low:+.1f}% to {high:+.1f}%)"


def _decide(
    comparisons: Sequence[Comparison], pooled: PooledEffect, p_equal: float, evidence: Evidence
) -> tuple[Verdict, str]:
    against = [f"{c.favoured} and {c.other}" for c in comparisons if c.outcome == "resolved against"]
    resolved = sum(c.outcome == "resolved for" for c in comparisons)
    if p_equal >= evidence.alpha:
        return "inconclusive", f"the {evidence.metric} of all variants lie within their noise (p = {p_equal:.2g})"
    if against:
        return "contradicted", f"beyond noise the wrong way: {', '.join(against)}"
    if resolved and pooled.high < 0:
        return "supported", "joint evidence beyond noise, no pair resolved against"
    return "inconclusive", "no joint evidence beyond noise"


def _count(comparisons: Sequence[Comparison]) -> str:
    claimed = sum(c.effect < 0 for c in comparisons)
    alone = sum(c.outcome != "unresolved" for c in comparisons)
    return f"{claimed} of {len(comparisons)} pairs point the claimed way, {alone} resolved alone"


def _members(pair: Pair) -> set[str]:
    return {e.variant for e in pair}
