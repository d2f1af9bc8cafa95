"""A comparison of studies in words, and as plain values."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from dit_scaling.claims.verdicts import describe_level
from dit_scaling.common.words import count
from dit_scaling.results.compare import Comparison, Difference
from dit_scaling.results.finished_study import FinishedStudy

NOTHING_SHARED = "No distance is compared: no variant is the same in both studies."
LINE = "{:<16}{:>{wide}}{:>{wide}}{:>10}{:>20}{:>9}  {}"


def percent(share: float) -> str:
    """A share with its sign, in whole per cent."""
    return f"{100 * share:+.0f}%"


def say_difference(found: Difference) -> str:
    """Whether a difference is more than noise."""
    if not found.beyond_noise:
        return "within noise"
    return "lower, beyond noise" if found.change < 0 else "higher, beyond noise"


def describe_yardsticks(comparison: Comparison) -> str:
    """Why distances are not compared; empty where they are."""
    if not comparison.unsound:
        return ""
    studies = comparison.first, comparison.other
    pairs = ", ".join(
        f"{what} ({' and '.join(_short(study.yardstick.get(what, 'none')) for study in studies)})"
        for what in comparison.unsound
    )
    return f"Distances are not compared, as they are measured with different {pairs}."


def _short(value: str) -> str:
    """A value with only the beginning of a hash."""
    return re.sub(r"\b([0-9a-f]{8})[0-9a-f]{24,}\b", r"\1...", value)


def describe_comparisons(comparisons: Sequence[Comparison]) -> str:
    """All of it as lines for a terminal."""
    studies = [comparisons[0].first, *(comparison.other for comparison in comparisons)]
    return "\n".join([*_verdicts(studies), *(line for each in comparisons for line in _beside(each))])


def comparison_record(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """All of it as plain values: of each study its verdicts and hours, of each further one what differs."""
    studies = [comparisons[0].first, *(comparison.other for comparison in comparisons)]
    return {
        "studies": [
            {
                "study": study.name,
                "results": str(study.results),
                "metric": study.metric,
                "verdicts": {claim["claim"]: claim["words"] for claim in study.claims["claims"]},
                "job_hours": study.hours,
            }
            for study in studies
        ],
        "beside_the_first": [
            {
                "study": each.other.name,
                "settings": [dict(zip(("key", "first", "other"), row, strict=True)) for row in each.settings],
                "not_comparable": list(each.unsound),
                "noise": each.noise,
                "at_end": [asdict(found) for found in each.at_end],
                "at_equal_compute": [asdict(found) for found in each.at_equal_compute],
                "in_one_study_only": list(each.alone),
                "of_other_size": list(each.namesakes),
                "shared_runs": each.shared_runs,
            }
            for each in comparisons
        ],
    }


def _verdicts(studies: Sequence[FinishedStudy]) -> Iterator[str]:
    for study in studies:
        hours = f", {sum(study.hours.values()):.3g} hours of jobs" if study.hours else ""
        verdicts = ", ".join(f"claim {claim['claim']} {claim['words']}" for claim in study.claims["claims"])
        yield f"{study.name} ({study.results}): {verdicts}{hours}"


def _beside(each: Comparison) -> Iterator[str]:
    yield ""
    yield f"{each.other.name} beside {each.first.name}:"
    for key, ours, theirs in each.settings:
        yield f"  {key}: {ours} -> {theirs}"
    if not each.settings:
        yield "  no setting differs"
    if each.alone:
        yield f"  in one study only: {', '.join(each.alone)}"
    if each.namesakes:
        yield f"  of the same name, but another size: {', '.join(each.namesakes)}"
    if each.unsound:
        yield f"  {describe_yardsticks(each)}"
        return
    if not each.at_end:
        yield f"  {NOTHING_SHARED}"
        return
    yield from _table(each, "at the end of training", each.at_end)
    if each.at_equal_compute == each.at_end:
        yield "That is at equal training compute."
    else:
        yield from _table(each, "at equal training compute", each.at_equal_compute)
    yield f"Noise: {each.noise}. Intervals are of each variant alone; p is corrected over the variants (Holm)."
    if each.shared_runs:
        yield f"The same training in both, and judged as if trained apart: {count(each.shared_runs, 'run')}."


def _table(each: Comparison, title: str, rows: Sequence[Difference]) -> Iterator[str]:
    yield ""
    yield f"{each.first.metric} {title}" + ("" if rows else ": no variant to compare")
    level, names = f"{describe_level(1 - each.first.study.claims.alpha)} CI", (each.first.name, each.other.name)
    wide = max(12, *(len(name) + 2 for name in names))
    if rows:
        yield LINE.format("variant", *names, "change", level, "p", "", wide=wide).rstrip()
    for found in rows:
        interval = f"{percent(found.low)} to {percent(found.high)}"
        values = f"{found.first:.4g}", f"{found.other:.4g}", percent(found.change), interval, f"{found.p:.2g}"
        yield LINE.format(found.variant, *values, say_difference(found), wide=wide)
