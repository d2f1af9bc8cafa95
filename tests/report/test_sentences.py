"""Verdicts in words: the finding with its number first, exceptions by name, none of the verdicts' own dialect."""

import dataclasses
import math
import re
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest

from dit_scaling.claims import ClaimsReport, evaluate_claims
from dit_scaling.claims.comparisons import Outcome
from dit_scaling.claims.verdicts import Claim, Verdict
from dit_scaling.common.words import count, listing, number_word, of_all, span
from dit_scaling.paper.published import table4
from dit_scaling.report.first_screen import claim_rows
from dit_scaling.report.outcome import conclude, say_condition, say_exclusions, say_untested
from dit_scaling.report.sentences import BADGES, describe_change, plain, say
from dit_scaling.report.style import shorten
from dit_scaling.report.verdict_tables import tabulate_pairs, tabulate_steps

GRID = [("Nano", 2), ("Nano", 1), ("Micro", 4), ("Micro", 2), ("Micro", 1), ("Mini", 4), ("Mini", 2), ("Mini", 1)]
PARAMS = {"Nano": 0.05, "Micro": 0.15, "Mini": 0.33}
# The distances of the embedded study's confirming run (docs/embedded-study.md), four seeds each.
CONFIRMED = {
    ("Nano", 2): (46.4, 48.9, 48.2, 45.7),
    ("Nano", 1): (42.7, 42.4, 44.6, 42.3),
    ("Micro", 4): (37.7, 42.1, 37.2, 33.1),
    ("Micro", 2): (27.1, 25.8, 26.5, 29.7),
    ("Micro", 1): (17.3, 21.9, 15.6, 21.1),
    ("Mini", 4): (28.1, 35.4, 29.2, 23.2),
    ("Mini", 2): (20.8, 20.5, 18.2, 20.0),
    ("Mini", 1): (16.7, 38.2, 17.1, 19.2),
}
DIALECT = re.compile(r"resolved|lower metric|joint evidence|fd_|R\^2|\b1 (sizes|pairs|comparisons)|  ")


def table_of(values: dict[tuple[str, int], tuple[float, ...]]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = [
        {
            "variant": f"DiT-{size}/{patch}",
            "size": size,
            "patch": patch,
            "params_m": PARAMS[size],
            "gflops": PARAMS[size] / 20 / patch**2,
            "seed": seed,
            "fd_classifier64": value,
        }
        for (size, patch), seeds in values.items()
        for seed, value in enumerate(seeds)
    ]
    return pd.DataFrame(rows)


def judged(values: dict[tuple[str, int], tuple[float, ...]]) -> ClaimsReport:
    return evaluate_claims(table_of(values), "fd_classifier64")


def made(law: float, patch_law: float = 0.5, scatter: float = 0.01) -> dict[tuple[str, int], tuple[float, ...]]:
    """Distances by power laws of parameters and tokens, with a little scatter."""
    rng = np.random.default_rng(0)
    return {
        (size, patch): tuple(
            30 * (PARAMS[size] / 0.1) ** law * patch**patch_law * np.exp(scatter * rng.standard_normal(4))
        )
        for size, patch in GRID
    }


def said(report: ClaimsReport, number: str) -> Any:
    claim = report[number]
    names = shorten([f"DiT-{size}/{patch}" for size, patch in GRID])
    return say(claim, names)


def test_a_supported_claim_has_the_percentages_of_its_logarithms() -> None:
    report = judged(made(-0.5))
    claim, text = report["1"], said(report, "1")
    assert claim.verdict == "supported"
    assert claim.effect is not None
    assert claim.confidence is not None
    mean, near, far = (
        round(100 * (1 - math.exp(x))) for x in (claim.effect, claim.confidence.high, claim.confidence.low)
    )
    assert text.finding == f"Larger models had a {mean}% lower distance on average (95% CI {near} to {far}%)."
    assert text.more == "7 of 7 comparisons agree, all seven individually significant."
    assert (text.badge, text.look) == ("Supported", "good")


def test_a_claim_between_families_names_them() -> None:
    names = shorten([f"DiT-{size}/{patch}" for size, patch in GRID])
    claim = dataclasses.replace(judged(made(-0.5))["1"], claim="SiT over DiT")
    told = say(claim, names)
    assert told.topic == "families at equal Gflops"
    assert told.finding.startswith("SiT had a ")
    absent = dataclasses.replace(claim, verdict="not testable", reason="DiT was not run")
    assert say_untested(absent).endswith("DiT was not run. Add variants of SiT and DiT with equal Gflops to test it.")


def test_a_contradicted_claim_says_how_many_go_against_it() -> None:
    report = judged(made(+0.5))
    text = said(report, "1")
    assert text.badge == "Contradicted"
    assert re.fullmatch(r"Larger models had a \d+% higher distance on average \(95% CI \d+ to \d+%\)\.", text.finding)
    assert text.more == "7 of 7 comparisons point against the claim, seven individually significant."


def test_no_difference_beyond_noise_has_an_interval_on_both_sides() -> None:
    report = judged(made(0.0, scatter=0.2))
    assert report["1"].verdict == "inconclusive"
    finding = said(report, "1").finding
    assert re.fullmatch(r"No difference beyond noise: .* on average \(95% CI \d+% lower to \d+% higher\)\.", finding)


def test_where_no_comparison_agrees_or_is_significant_the_words_say_so() -> None:
    claim = judged(made(-0.5))["1"]
    names = shorten([f"DiT-{size}/{patch}" for size, patch in GRID])

    def more(verdict: Verdict, effect: float, outcome: Outcome) -> str:
        pairs = tuple(dataclasses.replace(pair, effect=effect, outcome=outcome) for pair in claim.comparisons)
        return say(dataclasses.replace(claim, verdict=verdict, comparisons=pairs), names).more

    assert more("inconclusive", -0.1, "unresolved").startswith(
        "7 of 7 comparisons agree, none of them individually significant"
    )
    assert more("inconclusive", 0.1, "unresolved").startswith("No comparison agrees")
    assert more("contradicted", 0.1, "unresolved").endswith("against the claim, none individually significant.")


def test_the_confirming_run_is_told_as_it_came_out() -> None:
    report = judged(CONFIRMED)
    size, gflops = said(report, "1"), said(report, "3")
    assert size.finding.startswith("Larger models had a 31% lower distance on average (95% CI ")
    assert "Mini/1 against Micro/1 points the other way, within noise" in size.more
    found = report["3"].correlations
    assert found is not None
    assert found.williams is not None
    assert f"{found.r2_gflops:.2f}" in gflops.finding
    assert f"p = {found.williams.p_gflops:.2g}" in gflops.finding
    assert gflops.more.startswith("At equal size, more Gflops went with a ")


FAMILIES = ("my_lab.nets:Net", "DiT")
PLACES = {"Nano": 0.5, "Micro": 2.0, "Mini": 8.0, "Large": 32.0}


def between(gap: float, growth: float, seeds: int = 4) -> ClaimsReport:
    """Two families, ln distances of the first by ``gap`` + ``growth`` ln Gflops below those of the other."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "variant": f"{family}-{size}/2",
            "size": size,
            "patch": 2,
            "params_m": gflops,
            "gflops": gflops,
            "seed": seed,
            "fd_x8": math.exp(
                3 - 0.3 * math.log(gflops) - own * (gap + growth * math.log(gflops)) + rng.normal(0, 0.01)
            ),
        }
        for family, own in zip(FAMILIES, (1, 0), strict=True)
        for size, gflops in PLACES.items()
        for seed in range(seeds)
    ]
    return evaluate_claims(pd.DataFrame(rows), "fd_x8", families=[FAMILIES])


@pytest.mark.parametrize(
    ("gap", "growth", "verdict", "finding", "more"),
    [
        (0.3, 0.0, "supported", "Net had a 26% lower distance", "it keeps half its size or more."),
        (0.3, -0.085, "contradicted", "Net had a ", "it closes."),
        (-0.3, 0.0, "contradicted", "Net had a 35% higher distance", "four individually significant."),
    ],
)
def test_a_claim_between_families_tells_the_gap_and_how_it_grows(
    gap: float, growth: float, verdict: str, finding: str, more: str
) -> None:
    claim = between(gap, growth)["my_lab.nets:Net over DiT"]
    assert claim.verdict == verdict
    names = [f"{family}-{size}/2" for family in FAMILIES for size in PLACES]
    told = say(claim, {name: name for name in names})
    assert told.finding.startswith(finding)
    assert told.more.endswith(more)
    assert bool(re.search(r"4 of 4 comparisons agree.* The gap goes from [-+]\d", told.more)) == (gap > 0)
    assert told.topic == "families at equal Gflops"


def test_a_gap_that_the_smallest_size_does_not_have_opens() -> None:
    claim = between(-0.05, 0.1)["my_lab.nets:Net over DiT"]  # the worse one where models are smallest
    told = say(claim, {name: name for name in (f"{family}-{size}/2" for family in FAMILIES for size in PLACES)})
    assert re.search(r"The gap goes from \+\d.* to -\d.*: it opens with size\.$", told.more), told.more
    assert told.name == "Net over DiT"


def test_of_a_claim_between_families_with_one_seed_both_halves_are_supposed() -> None:
    claim = between(0.5, 0.0, seeds=1)["my_lab.nets:Net over DiT"]
    told = say(claim, {name: name for name in (f"{family}-{size}/2" for family in FAMILIES for size in PLACES)})
    assert told.badge == "Inconclusive"
    assert told.more.startswith("Would be supported")
    assert told.finding.startswith("Net had a ")


def test_what_a_claim_between_families_lacks_is_said() -> None:
    report = evaluate_claims(table_of(made(-0.5)), "fd_classifier64", families=[("DiT@flow", "DiT")])
    assert say_untested(report["DiT@flow over DiT"]) == (
        "Claim DiT@flow over DiT (families at equal Gflops): DiT@flow was not run. "
        "Add variants of DiT@flow and DiT with equal Gflops to test it."
    )


@pytest.mark.parametrize(
    ("law", "patch_law", "finding"),
    [
        (-0.9, 0.1, "Parameters fit better than Gflops (R² "),
        (-0.3, 0.6, "Gflops fit better than parameters (R² "),
    ],
)
def test_claim_3_says_which_fits_better(law: float, patch_law: float, finding: str) -> None:
    assert said(judged(made(law, patch_law)), "3").finding.startswith(finding)


def test_too_few_models_to_tell_gflops_from_parameters() -> None:
    few = {key: value for key, value in made(-0.5).items() if key != ("Mini", 1)}
    assert said(judged(few), "3").finding == "Seven models are too few to tell Gflops from parameters; it takes eight."


def test_what_was_not_tested_is_said_with_what_would_test_it() -> None:
    report = judged({key: value for key, value in made(-0.5).items() if key[1] == 2})
    assert report["2"].verdict == "not testable"
    text = say_untested(report["2"])
    assert text == (
        "Claim 2 (patch): no two patches were run at one size. "
        "Add a variant with another patch at an equal size to test it."
    )
    rows = claim_rows(report.claims, shorten([f"DiT-{size}/2" for size in PARAMS]))
    assert [row.said.claim for row in rows] == [c.claim for c in report.claims if c.verdict != "not testable"]


@pytest.mark.parametrize(
    "values",
    [CONFIRMED, made(-0.5), made(0.5), made(0.0), made(0.0, scatter=0.3), {("Nano", 2): (4.0,), ("Nano", 1): (3.0,)}],
)
def test_no_sentence_speaks_a_dialect(values: dict[tuple[str, int], tuple[float, ...]]) -> None:
    report = judged(values)
    for row in claim_rows(report.claims, shorten([f"DiT-{size}/{patch}" for size, patch in GRID])):
        for text in (row.said.finding, row.said.more):
            assert not DIALECT.search(text), text
            assert not text or ((text[0].isupper() or text[0].isdigit()) and text.endswith(".")), text
    for claim in report.claims:
        assert not DIALECT.search(say_untested(claim))


def with_verdicts(*verdicts: str, condition: str = "") -> list[Claim]:
    claim = judged(made(-0.5))["1"]
    return [dataclasses.replace(claim, verdict=verdict, condition=condition) for verdict in verdicts]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("verdicts", "outcome"),
    [
        (("supported",) * 3, "All three scaling claims hold"),
        (("supported", "supported"), "Both scaling claims hold"),
        (("inconclusive",), "The one scaling claim stays open"),
        (("supported", "supported", "inconclusive"), "Two of three scaling claims hold; the other stays open"),
        (
            ("supported on average", "contradicted", "inconclusive"),
            "One of three scaling claims holds on average; one is contradicted and one stays open",
        ),
        (
            ("supported in part", "supported", "not testable"),
            "One of two scaling claims holds; the other holds in part",
        ),
        (("not testable",), "No scaling claim could be tested with these models"),
    ],
)
def test_the_outcome_is_one_sentence(verdicts: tuple[str, ...], outcome: str) -> None:
    assert conclude(with_verdicts(*verdicts)) == outcome


def test_a_condition_that_was_not_measured_stands_in_the_outcome_and_once_below_it() -> None:
    report = evaluate_claims(table4())
    claims = [claim for claim in report.claims if claim.claim != "0"]
    assert conclude(claims) == "All three scaling claims stay open; all would hold on one condition"
    assert say_condition(report).count("runs scatter as published reproductions do") == 1
    assert say_condition(judged(made(-0.5))) == ""
    told = say(report["1"], shorten(table4()["variant"]))
    assert (told.badge, told.look) == ("Inconclusive", "open")
    assert told.finding == "Larger models had a 24% lower distance on average (95% CI 20 to 28%)."
    assert told.more.startswith("Would be supported on the condition below. 18 of 18 comparisons agree")


def test_every_verdict_has_a_badge() -> None:
    assert BADGES.keys() >= set(get_args(Verdict))


def test_words() -> None:
    assert [count(1, "pair"), count(2, "patch"), count(1000, "size")] == ["1 pair", "2 patches", "1,000 sizes"]
    assert [listing(["a"]), listing(["a", "b", "c"])] == ["a", "a, b and c"]
    assert [number_word(3), number_word(13)] == ["three", "13"]
    assert [of_all(1, 1, "metric"), of_all(2, 2, "metric"), of_all(3, 4, "metric")] == [
        "the only metric",
        "both metrics",
        "three of four metrics",
    ]
    assert [of_all(0, 1, "metric"), of_all(0, 4, "metric")] == ["no metric", "none of four metrics"]
    assert [span("0.1", "0.1"), span("0.1", "0.2")] == ["0.1", "0.1 to 0.2"]


def test_the_only_comparison_is_told_as_one() -> None:
    for reason in ("each of the 1 pairs has a bottleneck", "the 1 pairs has a bottleneck"):
        assert plain(reason) == "the only comparison has a bottleneck"
    assert plain("each of the 3 pairs has a bottleneck") == "each of the 3 comparisons has a bottleneck"


def test_ties_point_neither_way() -> None:
    values = made(-0.5)
    values["Mini", 2] = values["Micro", 2]
    report = judged(values)
    assert "Mini/2 against Micro/2 is a tie" in said(report, "1").more
    assert "points the other way" not in said(report, "1").more
    assert "1 of 5 pairs of neighbours do not point the claimed way" in report["1"].reason
    assert describe_change(0.0) == "equal"


def test_variants_left_out_are_named_with_their_reason() -> None:
    names = shorten([f"DiT-{size}/{patch}" for size, patch in GRID])
    report = evaluate_claims(table_of(made(-0.5)), "fd_classifier64", decoded_noise=40.0)
    told = say_exclusions(report, names)
    assert len(report.exclusions) > 1
    assert told.startswith("Left out of claims 1 to 3: ")
    assert told.count("made no images: not told apart from decoded noise") == 1
    assert all(names[exclusion.variant] in told for exclusion in report.exclusions)
    assert say_exclusions(judged(made(-0.5)), names) == ""


@pytest.mark.parametrize(("alpha", "head"), [(0.05, "95% CI"), (0.01, "99% CI"), (0.001, "99.9% CI")])
def test_tables_show_p_as_it_is_compared_with_the_level(alpha: float, head: str) -> None:
    report = evaluate_claims(table_of(CONFIRMED), "fd_classifier64", alpha=alpha).to_dict()
    pairs = tabulate_pairs("pairs", report)
    column = next(column for column in pairs.columns if column.head == "p (Holm, two-sided)")
    rows = [row for claim in report["claims"] for row in claim["comparisons"]]
    assert column.sort is not None
    assert rows
    for row in rows:
        assert (column.sort(row) < alpha) == (row["outcome"] != "unresolved")
    assert head in [column.head for column in tabulate_steps("steps", report).columns]
