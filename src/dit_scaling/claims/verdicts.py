"""Verdicts and the rules that lead to them.

Claims 0, 1 and 2 each say that in *every* pair of a family of pairs the favoured variant has the lower metric. What
holds for neighbours in size (or patch) holds for all, so neighbours decide, and so do the **steps** between them: from
one size to the next, the mean over all patches at which both were run; from one patch to the next, over sizes. At
level ``alpha`` (default 0.05) such a claim is

- **not testable**: the table holds no such pair, or each has a variant declared a bottleneck in advance;
- **inconclusive**: every pair that is left has a variant that made no images, or the variants of the pairs lie within
  their noise (F-test of one common metric, p >= alpha), or none of the following holds;
- **contradicted**: at least one pair is resolved against it, one-sided p < alpha / 2 after Holm's correction;
- **supported**: every pair of neighbours points the claimed way, and every step is beyond noise, one-sided p < alpha.
  A claim on *every* step needs each to pass, so no correction is due. Single pairs may stay unresolved;
- **supported in part**: every pair of neighbours points the claimed way, and some steps, but not all, are beyond noise
  (Holm's correction over steps); both kinds are named;
- **supported on average**: a minority of the pairs of neighbours points the wrong way, none of them beyond noise, and
  each is named; the two-sided 1 - alpha confidence interval of the mean over all neighbours excludes 0 in the claimed
  direction, also when any one variant is left out, so that no single model carries it.

Holm's correction holds whatever the dependence of pairs that share variants: the chance that any pair is wrongly
resolved, for or against, is at most alpha, however many pairs there are. This holds within a claim, not over claims.

Claim 3 says that Gflops, rather than parameters, go with the metric. It has two halves. **At equal parameters more
Gflops help**: pairs of equal size, so nearly equal parameters, judged by the rules above. **At equal Gflops parameters
do not**: the metric's correlation with ln Gflops is above that with ln params, that is, Zou's interval of the
difference of dependent correlations lies above 0; it takes ``correlations.MIN_VARIANTS`` variants of two sizes or more.

- *Contradicted*: either half is, each at alpha / 2.
- *Supported* (or one of its weaker kinds, as the first half): both halves are.
- *Supported in part*: one half is, and the other was tested and is undecided; both are named. Not so where parameters
  explain more of the ln metric than Gflops do, if by less than can be told: that is inconclusive.
- *Inconclusive*: one half cannot be tested, whatever the other says; the reason has both.
- *Not testable*: neither half can be, or sizes do not vary.

So fewer variants never make more of the claim. That parameters and tokens together explain more than Gflops alone does
not change the verdict: the claim ranks two single measures, and the reason says what is left over.

A verdict rests on **scatter that was measured**, by each variant's own seeds. Where some variants have one seed, the
others decide: *supported in part* at most, and those left out are named. Where all have, the claim is inconclusive.
Beside it stands what it **would be** on a **condition**: that runs scatter as published reproductions do, or as the
noisiest variant that was measured. So a table with one seed a variant, as the paper's, can be read, and no claim gains
by scatter that is not measured.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from dit_scaling.claims.comparisons import Comparison, GflopsException, Step
from dit_scaling.claims.correlations import Correlations
from dit_scaling.claims.noise import Estimate, Noise

Verdict = Literal[
    "supported", "supported on average", "supported in part", "contradicted", "inconclusive", "not testable"
]
SUPPORT: tuple[Verdict, ...] = ("supported", "supported on average", "supported in part")
DECIDED: tuple[Verdict, ...] = (*SUPPORT, "contradicted")


def describe_level(level: float) -> str:
    """The level of an interval: 95%, 99.9%."""
    return f"{100 * level:.4g}%"


@dataclass(frozen=True)
class Confidence:
    """Confidence interval of a claim's effect at ``level``, and the one-sided p-value of the claimed direction."""

    level: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Half:
    """One half of claim 3, with a verdict of its own; ``would_be`` as for a claim."""

    statement: str
    verdict: Verdict
    reason: str
    would_be: str = ""


@dataclass(frozen=True)
class Claim:
    """A claim with its verdict.

    ``qualification`` is what the verdict does not cover ("not for ...", "not told apart: ..."), ``would_be`` the words
    of the verdict that would stand if ``condition`` held, which was not measured; all three may be empty. ``effect`` is
    the mean difference of ln metric over pairs of neighbours, favoured variant minus the other: negative is the claimed
    direction, exp(effect) the typical ratio of the metrics. ``comparisons`` are of all pairs. ``exceptions``,
    ``correlations`` and ``halves`` belong to claim 3. ``reason`` is one sentence.
    """

    claim: str
    statement: str
    verdict: Verdict
    reason: str
    qualification: str = ""
    would_be: str = ""
    condition: str = ""
    effect: float | None = None
    confidence: Confidence | None = None
    steps: tuple[Step, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    halves: tuple[Half, ...] = ()
    exceptions: tuple[GflopsException, ...] = ()
    correlations: Correlations | None = None

    @property
    def words(self) -> str:
        """The verdict in full.

        "supported on average, not for DiT-L/2 over DiT-B/2", or "inconclusive; would be supported if runs scatter as
        published reproductions do (7.3%)".
        """
        said = f"{self.verdict}, {self.qualification}" if self.qualification else self.verdict
        if not self.would_be:
            return said
        comma = "," if "," in self.would_be else ""
        return f"{said}; would be {self.would_be}{comma} if {self.condition}"

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
        """Plain dictionaries, lists, numbers and None, ready for JSON: no NaN, no infinity; claims with ``words``."""
        plain: dict[str, Any] = asdict(
            self, dict_factory=lambda items: {k: list(v) if isinstance(v, tuple) else v for k, v in items}
        )
        for claim, entry in zip(self.claims, plain["claims"], strict=True):
            entry["words"] = claim.words
        return plain


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
