"""The page on which studies stand side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from dit_scaling.claims.verdicts import describe_level
from dit_scaling.common.files import atomic_path
from dit_scaling.common.pages import STYLES, content_policy, page_environment, read_style
from dit_scaling.results.compare import Comparison, Difference
from dit_scaling.results.compare_text import NOTHING_SHARED, describe_yardsticks, percent, say_difference
from dit_scaling.results.finished_study import FinishedStudy

BAR = 240
"""Width of an interval's bar, in pixels."""


def write_compare_page(comparisons: Sequence[Comparison], output: Path) -> None:
    """Write a page of one file that needs no network.

    Args:
        comparisons: each further study beside the first.
        output: HTML file.
    """
    style = "".join(map(read_style, STYLES))
    first = comparisons[0].first
    studies = [first, *(comparison.other for comparison in comparisons)]
    template = page_environment("dit_scaling.report").get_template("compare.html.j2")
    html = template.render(
        style=Markup(style),  # our own
        policy=content_policy([style]),
        nothing_shared=NOTHING_SHARED,
        studies=studies,
        level=describe_level(1 - first.study.claims.alpha),
        claims=_claims(studies),
        stages=sorted({stage for study in studies for stage in study.hours}),
        comparisons=[
            {
                "comparison": comparison,
                "yardsticks": describe_yardsticks(comparison),
                "tables": [
                    (title, [_row(found, _reach(rows)) for found in rows])
                    for title, rows in _tables(comparison)
                    if rows
                ],
            }
            for comparison in comparisons
        ],
    )
    with atomic_path(output) as temporary:
        temporary.write_text(html, encoding="utf-8")


def _tables(comparison: Comparison) -> list[tuple[str, Sequence[Difference]]]:
    """The tables of differences with their titles."""
    if comparison.at_end == comparison.at_equal_compute:
        return [("At the end of training, after equal training compute", comparison.at_end)]
    ends = "At the end of training", comparison.at_end
    return [ends, ("At equal training compute", comparison.at_equal_compute)]


def _claims(studies: Sequence[FinishedStudy]) -> list[tuple[str, str, list[str]]]:
    """Each claim, its statement, and its verdict in every study."""
    told: dict[str, str] = {}
    for study in studies:
        told |= {claim["claim"]: claim["statement"] for claim in study.claims["claims"]}
    verdicts = [{claim["claim"]: claim["words"] for claim in study.claims["claims"]} for study in studies]
    return [(claim, statement, [of.get(claim, "not judged") for of in verdicts]) for claim, statement in told.items()]


def _reach(rows: Sequence[Difference]) -> float:
    """Half the width of the bars' axis, as a share of the first study's metric."""
    return max(0.05, *(abs(value) for row in rows for value in (row.low, row.high)))


def _row(found: Difference, reach: float) -> dict[str, Any]:
    """A difference with what its bar is drawn from, in pixels."""
    place = {name: BAR / 2 * (1 + getattr(found, name) / reach) for name in ("low", "change", "high")}
    return {
        "found": found,
        "change": percent(found.change),
        "interval": f"{percent(found.low)} to {percent(found.high)}",
        "said": say_difference(found),
        "place": place,
        "bar": BAR,
    }
