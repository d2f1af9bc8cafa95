"""Tables of what stands behind the verdicts, for the study and for the paper's Table 4."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dit_scaling.claims import evaluate_claims
from dit_scaling.claims.comparisons import EQUAL_GFLOPS_RATIO
from dit_scaling.claims.verdicts import Claim, describe_level
from dit_scaling.paper.published import reproductions, spread_choices, table4
from dit_scaling.report.first_screen import ClaimRow
from dit_scaling.report.numbers import describe_number, describe_p
from dit_scaling.report.outcome import say_untested
from dit_scaling.report.sentences import describe_change, subject_of
from dit_scaling.report.table import Column, Row, Table, number, words

Report = Mapping[str, Any]
"""A report on claims as plain data: ``ClaimsReport.to_dict``."""

OUTCOMES = {
    "resolved for": "significant",
    "resolved against": "significant, the other way",
    "unresolved": "within noise",
}

MEASURES = {
    "pearson_gflops": "Pearson r of ln Gflops and the distance",
    "pearson_params": "Pearson r of ln params and the distance",
    "r2_gflops": "R² of ln distance on ln Gflops",
    "r2_params": "R² of ln distance on ln params",
    "r2_gflops_tokens": "R² of ln distance on ln Gflops and ln tokens",
    "r2_params_tokens": "R² of ln distance on ln params and ln tokens",
    "p_tokens": "p of tokens beside Gflops (F-test)",
}


def tabulate_pairs(name: str, report: Report) -> Table:
    """The pairs behind each verdict; a ratio below 1 points the claimed way."""
    kept = [
        "favoured",
        "other",
        "neighbours",
        "outcome",
        "effect",
        "standard_error",
        "statistic",
        "df",
        "widened",
        "p",
        "p_holm",
        "p_holm_against",
    ]
    data = _collect(report, "comparisons", kept)
    columns = (
        words("claim", narrow=False),
        words("expected better", "favoured"),
        words("expected worse", "other"),
        Column("distance", lambda row: describe_change(row["effect"]), words=True, sort=lambda row: row["effect"]),
        Column("outcome", lambda row: OUTCOMES[row["outcome"]], words=True),
        Column("p (Holm, two-sided)", lambda row: describe_p(_two_sided(row)), sort=_two_sided, narrow=False),
        Column("neighbours", lambda row: "yes" if row["neighbours"] else "no", words=True, narrow=False),
        number("standard error of ln", "standard_error", lambda value: f"{value:.3f}", narrow=False),
        Column("degrees of freedom", _describe_df, narrow=False),
    )
    return Table(name, data, columns)


def tabulate_steps(name: str, report: Report) -> Table:
    """The mean over the comparisons of each step from one size or patch to the next."""
    rows = [
        {"claim": claim["claim"], "step": step["name"], "comparisons": step["pairs"], **step["effect"]}
        for claim in report["claims"]
        for step in claim.get("steps") or ()
    ]
    columns = (
        words("claim", narrow=False),
        words("step"),
        number("comparisons", narrow=False),
        Column("distance", lambda row: describe_change(row["mean"]), words=True, sort=lambda row: row["mean"]),
        Column(
            f"{describe_level(1 - report['alpha'])} CI",
            lambda row: f"{_percent(row['low'])} to {_percent(row['high'])}",
        ),
        number("p (one-sided)", "p", describe_p),
    )
    return Table(
        name, pd.DataFrame(rows, columns=["claim", "step", "comparisons", "mean", "low", "high", "p"]), columns
    )


def tabulate_sentences(rows: Sequence[ClaimRow], claims: Sequence[Claim]) -> Table:
    """Each claim's verdict as the first screen says it, numbers rounded; also Snakemake's report opens with it."""
    told = {row.said.claim: (row.said.badge, row.said.finding, row.said.more) for row in rows}
    data = [
        (
            f"Claim {c.claim}: {subject_of(c.claim).topic}",
            *told.get(c.claim, ("Not tested", say_untested(c), "")),
        )
        for c in claims
    ]
    heads = ["claim", "verdict", "finding", "evidence"]
    return Table("verdicts", pd.DataFrame(data, columns=heads), [words(head) for head in heads])


def tabulate_exceptions(name: str, report: Report) -> Table:
    """The pairs that Gflops alone misplace."""
    gflops, metrics = ["gflops_better", "gflops_worse"], ["metric_better", "metric_worse"]
    data = _collect(
        report, "exceptions", ["better", "worse", "kind", *gflops, *metrics, "effect", "standard_error", "p"]
    )
    columns = (
        words("better"),
        words("worse"),
        words(f"kind (equal: within a factor of {EQUAL_GFLOPS_RATIO})", "kind"),
        number("Gflops, better", "gflops_better", lambda value: f"{value:.4g}", narrow=False),
        number("Gflops, worse", "gflops_worse", lambda value: f"{value:.4g}", narrow=False),
        number("distance, better", "metric_better", describe_number, narrow=False),
        number("distance, worse", "metric_worse", describe_number, narrow=False),
        number("p (one-sided)", "p", describe_p),
    )
    return Table(name, data, columns)


def tabulate_correlations(name: str, report: Report) -> Table:
    """What Gflops, parameters and tokens explain; only what could be computed."""
    correlated = [claim["correlations"] for claim in report["claims"] if claim.get("correlations")]
    found: Mapping[str, Any] = correlated[0] if correlated else {}
    rows = [(key, text, found[key]) for key, text in MEASURES.items() if found.get(key) is not None]
    advantage = found.get("advantage")
    if advantage:
        level = f"{advantage['level']:.0%} interval (Zou)"
        rows += [
            ("difference", "correlation with ln Gflops minus that with ln params", advantage["difference"]),
            ("low", f"from, {level}", advantage["low"]),
            ("high", f"to, {level}", advantage["high"]),
        ]
    data = pd.DataFrame(rows, columns=["key", "measure", "value"])

    def describe(row: Row) -> str:
        return describe_p(row["value"]) if row["key"] == "p_tokens" else f"{row['value']:.3f}"

    return Table(name, data, (words("measure"), Column("value", describe)))


def tabulate_spread(name: str) -> Table:
    """The published spread between reproductions by every choice of them, and the verdicts on Table 4 under each."""
    rows = []
    for choice, spread in spread_choices().items():
        report = evaluate_claims(table4(), spread=spread)
        verdicts = {f"claim {claim}": report[claim].would_be or report[claim].words for claim in ("1", "2", "3")}
        rows.append({"choice": choice, "sd": spread.sd, "df": spread.df, **verdicts})
    columns = (
        words("trainings that count", "choice"),
        number("spread", "sd", lambda value: f"{value:.1%}"),
        number("degrees of freedom", "df", lambda value: f"{value:.0f}"),
        *(words(f"claim {claim}") for claim in ("1", "2", "3")),
    )
    return Table(name, pd.DataFrame(rows), columns)


def tabulate_reproductions(name: str) -> Table:
    """Every training that the spread is estimated from, with its source and what differs."""
    columns = (
        words("variant"),
        number("FID-50K", "fid50k", lambda value: f"{value:.2f}"),
        *(words(column, narrow=column == "source") for column in ("framework", "protocol", "source", "caveat")),
    )
    return Table(name, reproductions(), columns)


def compare_verdicts(name: str, here: Report, published: Report) -> Table:
    """Each claim's verdict and effect in this study and on Table 4."""
    theirs = {claim["claim"]: claim for claim in published["claims"]}
    rows = [
        {"claim": claim["claim"], "statement": claim["statement"]}
        | {f"{key}_here": value for key, value in _effect(claim).items()}
        | {f"{key}_table4": value for key, value in _effect(theirs[claim["claim"]]).items()}
        for claim in here["claims"]
        if claim["claim"] in theirs  # a study's own claims between families are not the paper's
    ]
    columns = (
        Column("claim", lambda row: f"{row['claim']}: {subject_of(row['claim']).topic}", words=True),
        Column("here", lambda row: _describe_verdict(row, "here"), words=True),
        Column("change a step, here", lambda row: _describe_effect(row, "here"), narrow=False),
        Column("Table 4", lambda row: _describe_verdict(row, "table4"), words=True),
        Column("change a step, Table 4", lambda row: _describe_effect(row, "table4"), narrow=False),
    )
    return Table(name, pd.DataFrame(rows), columns)


def _percent(effect: float) -> str:
    return f"{100 * math.expm1(effect):+.0f}%".replace("-", "−")


def _two_sided(row: Row) -> float:
    """Below the level of the claims where the comparison is beyond noise: each direction is tested at half of it."""
    return min(1.0, 2 * float(min(row["p_holm"], row["p_holm_against"])))


def _collect(report: Report, part: str, columns: list[str]) -> pd.DataFrame:
    """One row per entry of ``part`` over all claims, with the claim's number first."""
    rows = [{"claim": claim["claim"], **entry} for claim in report["claims"] for entry in claim.get(part) or ()]
    return pd.DataFrame(rows, columns=["claim", *columns])


def _effect(claim: Mapping[str, Any]) -> dict[str, Any]:
    confidence = claim.get("confidence") or {}
    return {
        "verdict": claim["words"],
        "would_be": claim["would_be"],
        "effect": claim.get("effect"),
        "low": confidence.get("low"),
        "high": confidence.get("high"),
    }


def _describe_df(row: Row) -> str:
    df = row["df"]
    shown = "known" if df is None or math.isnan(df) else f"{df:.1f}"
    return f"{shown}, widened" if row["widened"] else shown


def _describe_verdict(row: Row, where: str) -> str:
    """The verdict; where it is open, what it would be on a condition, which stands elsewhere once."""
    supposed = row[f"would_be_{where}"]
    return f"open; would be {supposed}" if supposed else str(row[f"verdict_{where}"])


def _describe_effect(row: Row, where: str) -> str:
    """Mean change of the distance from the expected worse to the better, in percent with its interval."""
    mean, low, high = (row[f"{key}_{where}"] for key in ("effect", "low", "high"))
    if mean is None or math.isnan(mean):
        return "–"
    return f"{_percent(mean)} ({_percent(low)} to {_percent(high)})"
