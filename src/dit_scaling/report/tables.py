"""The report's tables, every cell a text."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dit_scaling.claims.comparisons import EQUAL_GFLOPS_RATIO
from dit_scaling.config.study import Study
from dit_scaling.progress import describe_seconds
from dit_scaling.report.measurements import LEVEL, Measurements
from dit_scaling.report.numbers import MISSING, describe_number
from dit_scaling.report.style import describe_features, order_variants


@dataclass(frozen=True)
class Table:
    """Column heads, and rows of as many texts. ``texts`` of the first columns are not numbers."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    texts: int = 1


def tabulate_variants(measured: Measurements) -> Table:
    """What each variant is and how it scored at the last common step; means over seeds where there are several."""
    features = "inception" if measured.metric == "fid" else measured.metric.removeprefix("fd_")
    scores = {
        f"kid_{features}": "KID" if features == "inception" else f"KID, {describe_features(features)}",
        f"class_accuracy_{features}": "class accuracy",
        f"precision_{features}": "precision",
        f"recall_{features}": "recall",
    }
    heads = ("variant", "params (M)", "Gflops", "tokens", "steps", "seeds", measured.label, f"{LEVEL:.0%} interval")
    rows = []
    for _, point in order_variants(measured.final).iterrows():
        records = _records(measured, point)
        rows.append(
            (
                str(point["variant"]),
                f"{point['params_m']:.4g}",
                f"{point['gflops']:.4g}",
                f"{point['tokens']:,}",
                f"{point['step']:,}",
                f"{point['runs']}",
                describe_number(float(point["value"])),
                f"{describe_number(float(point['low']))} to {describe_number(float(point['high']))}",
                *(_describe_score(records, column) for column in scores),
            )
        )
    return Table((*heads, *scores.values()), tuple(rows))


def tabulate_costs(measured: Measurements, batch_size: int) -> Table:
    """Wall time of training and what it makes per second; means over seeds."""
    heads = ("variant", "training time", "steps/s", "images/s", "training compute (1e9 mult-adds)", "1e9 mult-adds/s")
    rows = []
    for _, point in order_variants(measured.final).iterrows():
        records = _records(measured, point)
        seconds = float(records["train_seconds"].mean()) if "train_seconds" in records.columns else math.nan
        known = seconds > 0
        rows.append(
            (
                str(point["variant"]),
                describe_seconds(seconds) if known else MISSING,
                describe_number(point["step"] / seconds if known else None),
                describe_number(point["step"] * batch_size / seconds if known else None),
                describe_number(float(point["train_gflops"])),
                describe_number(point["train_gflops"] / seconds if known else None),
            )
        )
    return Table(heads, tuple(rows))


def tabulate_evaluations(measured: Measurements, table: pd.DataFrame) -> Table:
    """Every record of the study, all steps, seeds and guidance scales."""
    metric = measured.metric
    heads = ("variant", "seed", "steps", "guidance", "samples", measured.label, "standard error", "bias, estimated")
    columns = ("seed", "step", "guidance_scale", "n_samples", metric, f"{metric}_se", f"{metric}_bias")
    rows = [
        (str(record["variant"]), *(_describe_cell(record.get(column)) for column in columns))
        for _, record in table.iterrows()
    ]
    return Table(heads, tuple(rows))


def tabulate_lines(measured: Measurements) -> Table:
    """The distances between which those of the variants are read."""
    rows = tuple(
        (line.label.split(" (N")[0], line.kind, *_line_cells(line.samples, line.value)) for line in measured.lines
    )
    return Table(("line", "kind", "images", measured.label), rows, texts=2)


def tabulate_comparisons(claim: Mapping[str, Any]) -> Table:
    """The pairs behind a verdict; a ratio below 1 points the claimed way."""
    rows = tuple(
        (
            str(pair["favoured"]),
            str(pair["other"]),
            str(pair["outcome"]),
            f"{math.exp(pair['effect']):.3f}",
            f"{pair['standard_error']:.3f}",
            _describe_p(min(pair["p_holm"], pair["p_holm_against"])),
        )
        for pair in claim.get("comparisons") or ()
    )
    return Table(("expected better", "expected worse", "outcome", "ratio", "se of ln ratio", "p, Holm"), rows, texts=3)


def tabulate_exceptions(claim: Mapping[str, Any]) -> Table:
    """The pairs that Gflops alone misplace."""
    rows = tuple(
        (
            str(pair["better"]),
            str(pair["worse"]),
            str(pair["kind"]),
            f"{pair['gflops_better']:.4g}",
            f"{pair['gflops_worse']:.4g}",
            describe_number(pair["metric_better"]),
            describe_number(pair["metric_worse"]),
            _describe_p(pair["p"]),
        )
        for pair in claim.get("exceptions") or ()
    )
    heads = (
        "better",
        "worse",
        f"kind (equal: within {EQUAL_GFLOPS_RATIO}x)",
        "Gflops",
        "Gflops",
        "distance",
        "distance",
        "p",
    )
    return Table(heads, rows, texts=3)


def tabulate_correlations(claim: Mapping[str, Any]) -> Table:
    """How much of the metric each measure explains, with what is undefined left out."""
    names = {
        "variants": "variants",
        "pearson_gflops": "Pearson r of ln Gflops and the distance",
        "pearson_params": "Pearson r of ln params and the distance",
        "r2_gflops": "R² of ln distance on ln Gflops",
        "r2_params": "R² of ln distance on ln params",
        "r2_params_tokens": "R² of ln distance on ln params and ln tokens",
        "p_tokens": "p of tokens beside Gflops (F-test)",
    }
    found = claim.get("correlations") or {}
    rows = tuple((text, f"{found[key]:.3g}") for key, text in names.items() if found.get(key) is not None)
    return Table(("measure", "value"), rows)


def tabulate_commands(study: Study) -> Table:
    """How to run each stage again."""
    stages = {
        "vae": "train or adopt the VAE, and all that follows",
        "encode_shard": "encode the latents",
        "train": "go on with training, and export again",
        "sample": "draw the samples again",
        "fid": "score the samples again, without resampling",
        "aggregate": "join the metrics and judge the claims again",
        "figures": "draw the figures again",
        "report": "write this page again",
    }
    variant = study.variant(study.variants[0]).slug
    one = (
        f"results/{study.study}/{variant}/seed-{study.training.seeds[0]}/step-{study.training.exports[-1]}"
        f"/guidance-{study.sampling.guidance_scales[0]}/metrics.json"
    )
    rows = [(text, f"snakemake --cores 2 --forcerun {stage}") for stage, text in stages.items()]
    return Table(("to", "command"), (*rows, ("score one variant again", f"snakemake --cores 2 --force {one}")), texts=2)


def list_facts(record: Any, labels: Mapping[str, str]) -> Table:
    """Scalars of a JSON record, named by ``labels`` where they are there and by their keys elsewhere."""
    found = dict(_flatten(record))
    known = [(label, found.pop(key, MISSING)) for key, label in labels.items()]
    return Table(
        ("fact", "value"), (*known, *((key.replace("_", " "), value) for key, value in found.items())), texts=2
    )


def _flatten(record: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Paths and texts of all values; of long lists only the length."""
    for key, value in record.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{path}.")
        elif isinstance(value, list):
            yield path, _describe_list(value)
        else:
            yield path, _describe_cell(value)


def _describe_list(values: list[Any]) -> str:
    """Short lists in full, counts per class as their total, others by their length."""
    if len(values) > 4 and all(isinstance(value, int) for value in values):
        return f"{sum(values):,} in all, {min(values):,} to {max(values):,} each"
    plain = len(values) <= 20 and not any(isinstance(value, dict | list) for value in values)
    return ", ".join(map(_describe_cell, values)) if plain else f"{len(values):,} entries"


def _records(measured: Measurements, point: "pd.Series[Any]") -> pd.DataFrame:
    rows = measured.rows
    selected: pd.DataFrame = rows[(rows["variant"] == point["variant"]) & (rows["step"] == point["step"])]
    return selected


def _describe_score(records: pd.DataFrame, column: str) -> str:
    """Mean over seeds, with their standard deviation where there are several."""
    if column not in records.columns or records[column].isna().any():
        return MISSING
    mean = describe_number(float(records[column].mean()))
    return mean if len(records) == 1 else f"{mean} ± {describe_number(float(records[column].std()))}"


def _line_cells(samples: int | None, value: float) -> tuple[str, str]:
    return MISSING if samples is None else f"{samples:,}", describe_number(value)


def _describe_cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and not value.is_integer():
        return describe_number(value)
    return f"{value:,.0f}" if isinstance(value, int | float) else str(value)


def _describe_p(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"
