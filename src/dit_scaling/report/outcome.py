"""The outcome of a study in one sentence, and what stands around the verdicts: conditions, what was not tested."""

from collections.abc import Mapping, Sequence

from dit_scaling.claims.verdicts import Claim, ClaimsReport
from dit_scaling.common.words import listing, number_word, sentence
from dit_scaling.report.sentences import ABSENT, SUBJECTS, UNCLEAR, plain, subject_of


def say_untested(claim: Claim) -> str:
    """Why a claim was not tested, and what would."""
    subject = subject_of(claim.claim)
    reason = claim.halves[0].reason if claim.claim not in SUBJECTS and claim.halves else claim.reason
    return f"Claim {claim.claim} ({subject.topic}): {plain(reason)}. Add {subject.missing} to test it."


def conclude(claims: Sequence[Claim]) -> str:
    """The outcome of all claims that were tested, in one sentence."""
    tested = [claim for claim in claims if claim.verdict != ABSENT]
    if not tested:
        return "No scaling claim could be tested with these models"
    hold = sum(claim.verdict == "supported" for claim in tested)
    kinds = {
        "on average": sum(claim.verdict == "supported on average" for claim in tested),
        "in part": sum(claim.verdict == "supported in part" for claim in tested),
    }
    against = sum(claim.verdict == "contradicted" for claim in tested)
    left = len(tested) - hold - sum(kinds.values()) - against
    parts = [(hold, "holds", "hold")]
    parts += [(number, f"holds {kind}", f"hold {kind}") for kind, number in kinds.items()]
    parts += [(against, "is contradicted", "are contradicted"), (left, "stays open", "stay open")]
    told = [(number, one if number == 1 else many) for number, one, many in parts if number]
    first, *rest = told
    noun = "scaling claim" if len(tested) == 1 else "scaling claims"
    supposed = sum(supposed_support(claim) for claim in tested)
    who = "all" if supposed == len(tested) > 1 else number_word(supposed)
    assumed = f"; {who} would hold on one condition" if supposed else ""
    if not rest:
        whole = f"all {number_word(first[0])}" if first[0] > 2 else "both" if first[0] == 2 else "the one"
        return f"{sentence(whole)} {noun} {first[1]}{assumed}"
    ends = [f"{'the ' if len(rest) == 1 and n == 1 else ''}{_other(n, len(rest))} {verb}" for n, verb in rest]
    return (
        f"{sentence(number_word(first[0]))} of {number_word(len(tested))} {noun} {first[1]}; {listing(ends)}{assumed}"
    )


def say_condition(report: ClaimsReport) -> str:
    """What some verdicts would need and was not measured; empty where all was."""
    conditions = list(dict.fromkeys(claim.condition for claim in report.claims if claim.condition))
    return f"The condition: {listing(conditions)}. It was not measured here." if conditions else ""


def say_exclusions(report: ClaimsReport, names: Mapping[str, str]) -> str:
    """Which variants are no evidence, by reason; empty where all are. ``names`` are those that sentences have."""
    by_reason: dict[str, list[str]] = {}
    for exclusion in report.exclusions:
        by_reason.setdefault(exclusion.reason, []).append(names.get(exclusion.variant, exclusion.variant))
    told = [f"{', '.join(variants)} ({reason})" for reason, variants in by_reason.items()]
    return f"Left out of claims 1 to 3: {'; '.join(told)}." if told else ""


def supposed_support(claim: Claim) -> bool:
    """Whether an open claim would be supported on a condition that was not measured."""
    return claim.verdict == UNCLEAR and claim.would_be.startswith("supported")


def describe_assumption(note: str, metric: str) -> str:
    """An assumption of the verdicts without the name of the metric's column."""
    return sentence(
        note.replace(f"ln {metric}", "ln distance").replace("ln metric", "ln distance").replace(metric, "distance")
    )


def _other(number: int, groups: int) -> str:
    return "other" if number == 1 and groups == 1 else number_word(number)
