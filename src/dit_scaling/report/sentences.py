"""What each claim's verdict says, in a sentence with its number; the words of the field, no column names."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from dit_scaling.claims.comparisons import Comparison
from dit_scaling.claims.correlations import MIN_VARIANTS
from dit_scaling.claims.verdicts import Claim, Half, Verdict, describe_level
from dit_scaling.common.words import count, listing, number_word, sentence
from dit_scaling.report.numbers import describe_p, describe_percent, describe_r2
from dit_scaling.report.style import brief_families

MOST_NAMED = 2  # comparisons that a sentence names; more are counted
UNCLEAR = "inconclusive"
ABSENT = "not testable"


@dataclass(frozen=True)
class Subject:
    """What a claim is about, and how it speaks of it."""

    topic: str
    better: str
    """What should have the lower distance, in the plural."""
    axis: str
    """What the left side of the interval bar says."""
    missing: str
    """What to add to test it."""
    name: str = ""
    """In the place of the claim's number, where that is none."""


SUBJECTS: Mapping[str, Subject] = {
    "0": Subject("transformer", "Transformers", "transformer is better", "a U-Net and a transformer of equal Gflops"),
    "1": Subject("size", "Larger models", "larger is better", "a variant of another size at an equal patch"),
    "2": Subject(
        "patch", "Smaller patches", "smaller patch is better", "a variant with another patch at an equal size"
    ),
    "3": Subject("Gflops", "More Gflops", "Gflops fit better", "variants of two sizes and two patches"),
}
GAP: Mapping[str, str] = {
    "supported": "it keeps half its size or more",
    "contradicted": "it closes",
    UNCLEAR: "whether it keeps half its size is open",
    ABSENT: "whether it closes with size was not tested",
}
"""What the second half of a claim between families comes to."""

BADGES: Mapping[str, tuple[str, str]] = {
    "supported": ("Supported", "good"),
    "supported on average": ("On average", "partly"),
    "supported in part": ("In part", "partly"),
    "contradicted": ("Contradicted", "fault"),
    UNCLEAR: ("Inconclusive", "open"),
    ABSENT: ("Not tested", "open"),
}
"""The badge's word and CSS class by verdict; a verdict that is not here is its own word."""


@dataclass(frozen=True)
class Said:
    """One claim in words: the finding with its number, and how far the comparisons agree."""

    claim: str
    name: str
    """The claim's number, or its families."""
    topic: str
    badge: str
    look: str
    finding: str
    more: str


def subject_of(number: str) -> Subject:
    """Of claims 0 to 3, or of one between families, which is named "better over other"."""
    if number in SUBJECTS:
        return SUBJECTS[number]
    better, other = brief_families(number.split(" over ")).values()
    return Subject(
        "families at equal Gflops",
        better,
        f"{better} is better",
        f"variants of {better} and {other} with equal Gflops",
        f"{better} over {other}",
    )


def say(claim: Claim, names: Mapping[str, str]) -> Said:
    """A verdict in words; ``names`` are the variants' names as sentences have them."""
    subject = subject_of(claim.claim)
    badge, look = BADGES.get(claim.verdict, (sentence(claim.verdict), "open"))
    supposed = ""
    if claim.verdict == UNCLEAR and claim.would_be:  # told as if the condition held, and that it was not measured
        kind, _, limits = claim.would_be.partition(", ")
        claim = replace(claim, verdict=cast("Verdict", kind), qualification=limits)
        supposed = f"Would be {kind} on the condition below. "
    if claim.claim == "3":
        finding, more = _say_correlations(claim, subject), _say_halves(claim, names)
    else:
        lower = _first_half(claim) if claim.halves else claim
        finding, more = _say_effect(lower, subject, names), _say_agreement(lower, names)
        if claim.halves and (claim.effect or 0.0) < 0:  # a gap the other way is none to close
            more = f"{more} {_say_gap(claim.halves[1])}"
    name = subject.name or claim.claim
    return Said(claim.claim, name, subject.topic, badge, look, finding, f"{supposed}{more}".strip())


def _say_effect(claim: Claim, subject: Subject, names: Mapping[str, str]) -> str:
    if claim.effect is None or claim.confidence is None:
        return f"{sentence(plain(claim.reason))}."
    against = [c for c in claim.comparisons if c.outcome == "resolved against"]
    change = describe_change(claim.effect)
    interval = describe_interval(claim)
    if claim.verdict == "contradicted" and claim.effect < 0 and against:
        worse = listing([f"{names[c.favoured]} than {names[c.other]}" for c in against[:MOST_NAMED]])
        return (
            f"Not always: the distance was significantly higher for {worse}, though {change} on average ({interval})."
        )
    if claim.verdict == UNCLEAR and claim.confidence.low < 0 < claim.confidence.high:
        return f"No difference beyond noise: {change} on average ({interval})."
    amount = _amount(claim.effect)
    article = "an" if amount.startswith(("8", "11%", "18%", "equal")) else "a"
    finding = f"{subject.better} had {article} {amount} distance on average ({interval})"
    if claim.verdict != UNCLEAR:
        return f"{finding}."
    carried = re.search(r"not beyond noise without ([^;]+)", claim.reason)
    why = f"not beyond noise without {_shorten(carried[1], names)}" if carried else "that doesn’t decide the claim"
    return f"{finding}, but {why}."


def _amount(effect: float) -> str:
    """ "48% lower"; "equal" where there is no difference at all."""
    if effect == 0:
        return "equal"
    return f"{describe_percent(math.expm1(effect))} {'lower' if effect < 0 else 'higher'}"


def describe_change(effect: float) -> str:
    """A difference of ln distance: "48% lower", "4% higher"."""
    return _amount(effect)


def describe_interval(claim: Claim) -> str:
    """The confidence interval of the mean effect: "95% CI 40 to 55%", "95% CI 11% lower to 4% higher"."""
    if claim.confidence is None:
        return ""
    low, high, level = claim.confidence.low, claim.confidence.high, f"{describe_level(claim.confidence.level)} CI"
    if low < 0 < high:
        return f"{level} {_amount(low)} to {_amount(high)}"
    near, far = sorted((abs(math.expm1(low)), abs(math.expm1(high))))
    return f"{level} {describe_percent(near).rstrip('%')} to {describe_percent(far)}"


def _say_agreement(claim: Claim, names: Mapping[str, str]) -> str:
    """How many comparisons agree, and those that do not, by name."""
    if not claim.comparisons:
        return ""
    total = len(claim.comparisons)
    if claim.verdict == "contradicted":
        against = [c for c in claim.comparisons if c.effect > 0]
        sure = sum(c.outcome == "resolved against" for c in against)
        return (
            f"{len(against)} of {count(total, 'comparison')} {_verb(len(against), 'point')} against the claim, "
            f"{number_word(sure) if sure else 'none'} individually significant."
        )
    agree = [c for c in claim.comparisons if c.effect < 0]
    sure = sum(c.outcome == "resolved for" for c in agree)
    told = f"{len(agree)} of {count(total, 'comparison')} {_verb(len(agree), 'agree')}"
    parts = [f"{told}, {_significant(sure, len(agree))}" if agree else "No comparison agrees"]
    parts += _say_rest(claim.comparisons, names)
    text = f"{'; '.join(parts)}."
    if claim.verdict == "supported in part" and claim.qualification:
        text += f" {sentence(_shorten(claim.qualification, names))}."
    return text


def _significant(sure: int, agree: int) -> str:
    """How many of those that agree, at least 1, are beyond noise by themselves."""
    if agree == 1:
        return f"it is {'' if sure else 'not '}individually significant"
    if sure == agree:
        return f"all {number_word(sure)} individually significant"
    return f"{number_word(sure) if sure else 'none'} of them individually significant"


def _say_rest(comparisons: Sequence[Comparison], names: Mapping[str, str]) -> list[str]:
    """The comparisons that agree within noise only, those that point the other way, and ties."""

    def name(some: Sequence[Comparison]) -> str:
        return listing([f"{names[c.favoured]} against {names[c.other]}" for c in some])

    within = [c for c in comparisons if c.outcome == "unresolved" and c.effect < 0]
    wrong = [c for c in comparisons if c.outcome == "unresolved" and c.effect > 0]
    ties = [c for c in comparisons if c.effect == 0]
    parts = []
    for some, one, many in (
        (within, "is within noise", "are within noise"),
        (wrong, "points the other way, within noise", "point the other way, within noise"),
        (ties, "is a tie", "are ties"),
    ):
        if 0 < len(some) <= MOST_NAMED:
            parts.append(f"{name(some)} {one if len(some) == 1 else many}")
        elif some:
            parts.append(f"{number_word(len(some))} {many}")
    return parts


def _first_half(claim: Claim) -> Claim:
    """A claim between families as if its first half, the lower distance at equal Gflops, were all of it."""
    lower = claim.halves[0]
    return replace(claim, verdict=cast("Verdict", lower.would_be or lower.verdict), reason=lower.reason)


def _say_gap(half: Half) -> str:
    """The second half of a claim between families: how the gap changes, and what that comes to."""
    change, verdict = half.reason.partition(", p = ")[0], half.would_be or half.verdict
    opens = verdict == "supported" and " from +" in change  # no gap at the smallest, of which half could be kept
    return f"{sentence(plain(change))}: {'it opens with size' if opens else GAP[verdict]}."


def _say_correlations(claim: Claim, subject: Subject) -> str:
    """Claim 3's own finding: whether Gflops or parameters fit the distance better."""
    found = claim.correlations
    if found is None:
        return _say_effect(claim, subject, {})
    if found.advantage is None:
        few = sentence(number_word(found.variants))
        return f"{few} models are too few to tell Gflops from parameters; it takes {number_word(MIN_VARIANTS)}."
    gflops, params = describe_r2(found.r2_gflops), describe_r2(found.r2_params)
    values = f"R² {gflops} each" if gflops == params else f"R² {gflops} against {params}"
    p = found.williams.p_gflops if found.williams else None
    tested = "" if p is None else f"p = {describe_p(p)}".replace("= <", "<")
    if found.advantage.low > 0:
        return f"Gflops fit better than parameters ({', '.join(filter(None, (values, tested)))})."
    if found.advantage.high < 0:
        return f"Parameters fit better than Gflops (R² {params} against {gflops})."
    if found.r2_gflops > found.r2_params and gflops != params:
        rest = f" ({tested})" if tested else ""
        return (
            f"Gflops fit better than parameters ({values}), but not significantly with {found.variants} models{rest}."
        )
    return f"Gflops fit no better than parameters ({', '.join(filter(None, (values, tested)))})."


def _say_halves(claim: Claim, names: Mapping[str, str]) -> str:
    """Claim 3's other half: whether more Gflops help at equal size."""
    if claim.effect is None or not claim.comparisons:
        return ""
    agree = sum(c.effect < 0 for c in claim.comparisons)
    text = (
        f"At equal size, more Gflops went with a {_amount(claim.effect)} distance ({describe_interval(claim)}); "
        f"{agree} of {count(len(claim.comparisons), 'comparison')} {_verb(agree, 'agree')}."
    )
    if claim.exceptions:
        against = [f"{names[e.better]} beats {names[e.worse]}" for e in claim.exceptions]
        if len(against) <= MOST_NAMED:
            text += f" With no more Gflops, {listing(against)}."
        else:
            text += f" {sentence(number_word(len(against)))} comparisons go against Gflops."
    return text


def plain(reason: str) -> str:
    """The beginning of a verdict's reason in the words of this page."""
    lead = re.sub(r"\b(each of )?the 1 pairs\b", "the only comparison", reason.split(";")[0].rstrip("."))
    lead = re.sub(r"\bpair(s?)\b", r"comparison\1", lead)
    return re.sub(r"\b(fid|fd)[a-z0-9_]*", "distance", lead)


def _verb(number: int, verb: str) -> str:
    return f"{verb}s" if number == 1 else verb


def _shorten(text: str, names: Mapping[str, str]) -> str:
    """A text of the verdicts with the names of variants as sentences have them."""
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, names[name])
    return text
