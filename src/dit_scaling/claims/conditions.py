"""Verdicts rest on scatter that was measured; what would follow from an assumed one is said beside them.

Each claim is judged twice: on all variants, with the assumed scatter where none was measured, and on the variants whose
own seeds show theirs. The second decides, so no claim gains by seeds that are missing, however small the scatter is
that is assumed in their place.
"""

from collections.abc import Sequence
from dataclasses import replace

from dit_scaling.claims.verdicts import DECIDED, SUPPORT, Claim, Half, Verdict


def rest_on_seeds(taken: Claim, measured: Claim, unmeasured: Sequence[str], condition: str) -> Claim:
    """The verdict on a claim by measured scatter alone.

    Args:
        taken: the claim judged on all variants, with what ``condition`` says in place of scatter that is unknown.
        measured: the claim judged on the others alone.
        unmeasured: variants of the claim whose scatter is unknown.
        condition: what is assumed of them.
    """
    if taken.verdict == "not testable" or measured == taken:
        return taken
    names = f"without {', '.join(unmeasured)}, whose scatter was not measured"
    if measured.verdict == "contradicted":
        return replace(measured, reason=f"{names}, {measured.reason}")
    if measured.verdict in SUPPORT and taken.verdict in SUPPORT:
        kind: Verdict = "supported in part" if measured.verdict == "supported" else measured.verdict
        qualification = "; ".join(filter(None, (measured.qualification, names)))
        part = replace(measured, verdict=kind, qualification=qualification)
        return replace(part, would_be=taken.words, condition=condition)
    would_be = taken.words if taken.verdict in DECIDED else ""
    return replace(
        taken,
        verdict="inconclusive",
        qualification="",
        reason=f"with the assumed scatter, {taken.reason}",
        would_be=would_be,
        condition=condition if would_be else "",
        halves=tuple(_open(half) for half in taken.halves),
    )


def _open(half: Half) -> Half:
    if half.verdict not in DECIDED:
        return half
    return replace(half, verdict="inconclusive", would_be=half.verdict)
