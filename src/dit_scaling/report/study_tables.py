"""Tables of what was measured: variants, reference levels, all evaluations, power laws and what they promise."""

from typing import Any

import pandas as pd

from dit_scaling.metrics import catalogue
from dit_scaling.paper.published import table4
from dit_scaling.report.figures.axes import distance_title, units_of
from dit_scaling.report.measurements import CONFIDENCE, Measurements, fit_points
from dit_scaling.report.numbers import MISSING, describe_distance, describe_number, describe_quantity, describe_spread
from dit_scaling.report.style import head_column, order_variants
from dit_scaling.report.table import Column, Row, Table, number, words

BUDGETS = (1, 2, 5, 10)
SHORT = ("seed", "step")  # columns of all evaluations that phones have room for
FITTED = {"gflops": "Gflops of one forward pass", "train_gflops": "training compute (1e9 multiply-adds)"}


def tabulate_variants(measured: Measurements, *, beside_paper: bool) -> Table:
    """What each variant is and how it scored at the last common step; means over seeds where there are several.

    Metrics that were not measured have a column in the file, not on the page; ``unmeasured`` names them.

    ``beside_paper`` adds the published FID of the same variant and the difference, which only the paper's protocol
    allows.
    """
    beside = {metric.column_on(measured.features): metric for metric in catalogue.METRICS}
    scores = {
        column: head_column(metric, measured.features)
        for column, metric in beside.items()
        if column != measured.metric and (metric.on_any or column in measured.rows.columns)
    }
    kept = ["variant", "params_m", "gflops", "tokens", "step", "runs", "value", "low", "high"]
    data = order_variants(measured.final)[kept].rename(columns={"value": measured.metric})
    for column in scores:
        data = data.merge(_score_over_seeds(measured, column), on="variant", how="left")
    compute, weights = units_of(measured.final)
    columns = [
        words("variant"),
        number(distance_title(measured), measured.metric, describe_distance),
        Column(
            f"{CONFIDENCE:.0%} interval",
            lambda row: f"{describe_distance(row['low'])} to {describe_distance(row['high'])}",
            sort=lambda row: row["low"],
        ),
        number(f"{compute.sign}flops", "gflops", lambda value: describe_quantity(1e9 * value / compute.size)),
        number(
            f"params ({weights.sign})",
            "params_m",
            lambda value: describe_quantity(1e6 * value / weights.size),
            narrow=False,
        ),
        Column(
            "tokens",
            lambda row: "–" if pd.isna(row["tokens"]) else f"{row['tokens']:,}",
            sort=lambda row: float("nan") if pd.isna(row["tokens"]) else float(row["tokens"]),
            narrow=False,
        ),
    ]
    if beside_paper:
        published = table4().rename(columns={"fid50k": "published"})[["variant", "published"]]
        data = data.merge(published, on="variant", how="left")
        data["difference"] = data[measured.metric] - data["published"]
        columns += [
            Column("published FID-50K", lambda row: _describe_published(row["published"], f"{row['published']:.2f}")),
            Column("difference", lambda row: _describe_published(row["published"], f"{row['difference']:+.2f}")),
        ]
    columns += [_score_column(head, column) for column, head in scores.items() if data[column].notna().any()]
    return Table("variants", data, columns)


def unmeasured(variants: Table, measured: Measurements) -> list[str]:
    """The metrics that no variant has, as the table's heads would name them."""
    heads = {
        metric.column_on(measured.features): head_column(metric, measured.features) for metric in catalogue.METRICS
    }
    return [heads[column] for column in variants.data.columns if column in heads and variants.data[column].isna().all()]


def tabulate_levels(measured: Measurements) -> Table:
    """The distances between which those of the variants are read."""
    data = pd.DataFrame(
        [(level.label.split(" (N")[0], level.kind, level.samples, level.value) for level in measured.levels],
        columns=["level", "kind", "images", measured.metric],
    ).astype({"images": object})
    columns = (
        words("level"),
        words("kind"),
        number("images", narrow=False),
        number(distance_title(measured), measured.metric, describe_distance),
    )
    return Table("levels", data, columns)


def tabulate_evaluations(measured: Measurements, table: pd.DataFrame) -> Table:
    """Every record of the study, all steps, seeds and guidance scales, with all that is known of it."""
    metric = measured.metric
    shown = {
        "seed": "seed",
        "step": "steps",
        "guidance_scale": "guidance",
        "n_samples": "samples",
        metric: distance_title(measured),
        f"{metric}_se": "standard error",
        f"{metric}_bias": "bias, estimated",
    }
    complete = table.reindex(columns=[*table.columns, *(key for key in shown if key not in table.columns)])
    return Table(
        "evaluations",
        complete,
        (words("variant"), *(number(head, key, narrow=key in SHORT or key == metric) for key, head in shown.items())),
    )


def tabulate_fits(measured: Measurements) -> Table:
    """The fitted power laws."""
    rows: list[dict[str, Any]] = []
    for x, label in FITTED.items():
        if (fit := fit_points(measured.final, x)) is not None:
            fitted = {"against": label, "exponent": fit.b, "standard_error": fit.b_error, "r_squared": fit.r_squared}
            rows.append(fitted | {"factor": fit.predict(1.0)["y"].iloc[0], "variants": fit.n})
    data = pd.DataFrame(rows, columns=["against", "exponent", "standard_error", "r_squared", "factor", "variants"])
    columns = (
        words("against"),
        Column("exponent", lambda row: f"{row['exponent']:.3f} ± {row['standard_error']:.3f}"),
        number("R² of ln distance", "r_squared", describe_number),
        number("distance at 1", "factor", describe_number, narrow=False),
        number("variants", narrow=False),
    )
    return Table("fits", data, columns)


def tabulate_budget(measured: Measurements) -> Table:
    """What the fit against training compute gives at multiples of the largest run's compute."""
    fit = fit_points(measured.final, "train_gflops")
    data = pd.DataFrame(columns=["times", "train_gflops", "expected", "low", "high", "extrapolated"])
    if fit is not None:
        predicted = fit.predict([fit.x_max * factor for factor in BUDGETS], CONFIDENCE)
        data = predicted.rename(columns={"x": "train_gflops", "y": "expected"})[
            ["train_gflops", "expected", "low", "high"]
        ]
        data.insert(0, "times", BUDGETS)
        data["extrapolated"] = data["times"] > 1
    columns = (
        Column("compute of the largest run", lambda row: f"x {row['times']}"),
        number("1e9 multiply-adds", "train_gflops", describe_number, narrow=False),
        number("expected distance", "expected", describe_distance),
        Column(
            f"{CONFIDENCE:.0%} interval of one variant",
            lambda row: f"{describe_distance(row['low'])} to {describe_distance(row['high'])}",
        ),
        Column(
            "basis", lambda row: "extrapolated" if row["extrapolated"] else "within the data", words=True, narrow=False
        ),
    )
    return Table("budget", data, columns)


def _describe_basis(row: Row) -> str:
    return "extrapolated" if row["extrapolated"] else "within the data"


def _score_over_seeds(measured: Measurements, column: str) -> pd.DataFrame:
    """Mean and standard deviation of a score over the seeds of each variant at the last common step."""
    rows = measured.rows[measured.rows["step"] == measured.final["step"].iloc[0]]
    if column not in rows.columns:
        rows = rows.assign(**{column: float("nan")})
    scores = rows.groupby("variant")[column]
    spread = f"{column}_over_seeds"
    found = pd.DataFrame({column: scores.mean(), spread: scores.std()})
    return found.where(scores.count() == scores.size()).rename_axis("variant").reset_index()


def _score_column(head: str, column: str) -> Column:
    """Mean over seeds, with their standard deviation where there are several."""

    def describe(row: Row) -> str:
        mean = describe_number(row[column])
        several = row["runs"] > 1 and mean != MISSING
        return f"{mean} ± {describe_spread(row[f'{column}_over_seeds'])}" if several else mean

    return Column(head, describe, sort=lambda row: row[column], narrow=False, brief=head.split(",")[0])


def _describe_published(published: float, text: str) -> str:
    return "not published" if pd.isna(published) else text
