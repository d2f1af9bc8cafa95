"""The table of metrics that the claims are judged on: read, checked, cut to one training step."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from dit_scaling.claims.table_costs import check_costs, name_parts
from dit_scaling.claims.table_file import read_table_file
from dit_scaling.claims.table_values import read_numbers, refuse
from dit_scaling.common.errors import UserError
from dit_scaling.common.words import count
from dit_scaling.metrics.catalogue import HEADLINE, no_distance, parse_column
from dit_scaling.variants import family_of, is_unpatched, objective_of

ATTRIBUTES = ("size", "patch", "params_m", "gflops")
REQUIRED = ("variant", *ATTRIBUTES)
DEFAULT_METRIC = "fid50k"
PROTOCOL = ("extractor", "sampler", "sampling_steps", "guidance_scale")
"""Columns in which rows must agree to be compared, beside the number of samples."""
ABOUT_RUNS = (*REQUIRED, *PROTOCOL, "seed", "step", "steps", "n_samples", "tokens", "train_gflops", "images_seen")
"""Columns that say what a row is of, and none of them is a metric."""
MOST_FID = 5000
"""Of Inception's features: noise has some hundreds. A date as a number, 45413 or 20240501, is more."""


def read_metrics_table(path: Path, metric: str | None = None, guidance_scale: float | None = None) -> pd.DataFrame:
    """Read a table of metrics, one row per trained model (and step), and check it.

    Args:
        path: Parquet or text, as for ``read_table_file``. Columns: variant (``FAMILY-SIZE/PATCH``), size, patch
            (integer; may be empty for the family ``UNet``), params_m (1e6), gflops (1e9 multiply-adds), a metric;
            optionally seed, step (or steps), n_samples, ``<metric>_se``, those of ``PROTOCOL``, and tokens, empty where
            patch is.
        metric: name of the metric's column, as for ``find_metric``.
        guidance_scale: whose rows are taken, as by ``at_guidance_scale``.

    Raises:
        UserError: the file cannot be read, has no rows at ``guidance_scale``, or ``check_table`` refuses its content.
    """
    whole, where = read_table_file(path, REQUIRED), str(path)
    table = at_guidance_scale(whole, guidance_scale, where)
    if len(table) < len(whole):
        where = f"{path}, rows at guidance scale {table['guidance_scale'].iloc[0]}"
    checked = check_table(table, metric, where)
    _check_distances(checked, find_metric(checked, metric, where), where)
    check_costs(checked.assign(family=checked["variant"].map(family_of)), where)
    return checked


def find_metric(table: pd.DataFrame, metric: str | None = None, where: str = "the table") -> str:
    """The metric's column: ``metric``, else ``fid50k``, else the only Frechet distance (fid... or fd_...).

    Its standard error or bias do not count.

    Raises:
        UserError: there is no such column, or there are several, or the one named is no metric or one where higher is
            better.
    """
    if metric is not None:
        names = [name for name in map(str, table.columns) if name in (metric, metric.strip().lower())]
        if not names:
            raise UserError(f"{where}: no column '{metric}'. Its columns are {', '.join(map(str, table.columns))}.")
        _check_direction(names[0], where)
        return names[0]
    if DEFAULT_METRIC in table.columns:
        return DEFAULT_METRIC
    parsed = {name: parse_column(name) for name in map(str, table.columns)}
    found = [name for name, column in parsed.items() if column and column.metric == HEADLINE and not column.aside]
    if len(found) != 1:
        problem = f"several metrics ({', '.join(found)})" if found else "no metric column (fid50k, fid... or fd_...)"
        raise UserError(f"{where}: {problem}. Name the one to judge by.")
    return found[0]


def check_table(table: pd.DataFrame, metric: str | None = None, where: str = "the table") -> pd.DataFrame:
    """A copy of ``table`` with text and numeric columns converted, rows renumbered from 0.

    Metrics are distances: lower is better, and positive, as the claims compare their logarithms.

    Raises:
        UserError: a column is missing; a value is empty, not a number or out of range; a run occurs twice; the rows of
            one variant disagree on its size, patch, params_m, gflops or tokens; two variants share family, size and
            patch; there are no rows.
    """
    twice = table.columns[table.columns.duplicated()]
    if len(twice):
        raise UserError(f"{where}: column '{twice[0]}' stands there twice. Leave out the one that does not count.")
    missing = [column for column in REQUIRED if column not in table.columns]
    if missing:
        raise UserError(
            f"{where}: missing column {', '.join(missing)}. A table needs {', '.join(REQUIRED)} and a metric."
        )
    metric = find_metric(table, metric, where)
    if table.empty:
        raise UserError(f"{where}: no rows. Give one row per trained model.")
    checked = table.reset_index(drop=True)
    if "step" not in checked.columns:
        checked = checked.rename(columns={"steps": "step"})
    for column in ("variant", "size", "extractor", "sampler"):
        if column in checked.columns:
            checked[column] = _texts(checked, column, where)
    for column in ("params_m", "gflops", metric):
        checked[column] = _positive(checked, column, where)
    for column in ("patch", "tokens"):
        if column in checked.columns:
            checked[column] = _count_of_patched(checked, column, where)
    if f"{metric}_se" in checked.columns:
        checked[f"{metric}_se"] = _standard_errors(checked, f"{metric}_se", where)
    for column, least in (("seed", 0), ("step", 0), ("steps", 0), ("n_samples", 1), ("sampling_steps", 1)):
        if column in checked.columns:
            checked[column] = _whole(checked, column, least, where)
    if "guidance_scale" in checked.columns:
        scales = read_numbers(checked, "guidance_scale", where)
        refuse(checked, ~(np.isfinite(scales) & (scales >= 0)), "guidance_scale", "unknown or no number", where)
        checked["guidance_scale"] = scales
    _check_runs(checked, where)
    _check_attributes(checked, where)
    _check_names(checked, where)
    return checked


def at_guidance_scale(table: pd.DataFrame, scale: float | None = None, where: str = "the table") -> pd.DataFrame:
    """Rows of a table as it was read at one guidance scale: ``scale``, else the first that stands in the table.

    All rows, where no scale is named and the first is not that of all variants: such a table mixes protocols, which
    ``check_protocol`` refuses.

    Raises:
        UserError: there are no rows at ``scale``.
    """
    if "guidance_scale" not in table.columns or table.empty:
        if scale is not None:
            raise UserError(f"{where}: no column 'guidance_scale' to find scale {scale:g} in.")
        return table
    if "variant" not in table.columns:  # which is refused as a whole
        return table
    scales = read_numbers(table, "guidance_scale", where)
    rows: pd.DataFrame = table[scales == (scales.iloc[0] if scale is None else scale)]
    if scale is None:
        of_all = rows["variant"].nunique() == table["variant"].nunique()
        return rows if of_all and scales.notna().all() else table
    if rows.empty:
        there = ", ".join(f"{each:g}" for each in scales.dropna().unique())
        raise UserError(f"{where}: no rows at guidance scale {scale:g}. There are {there}.")
    return rows


def at_common_step(table: pd.DataFrame) -> tuple[pd.DataFrame, str | None]:
    """Rows at the largest step that every variant has, and a note where rows were left out.

    Raises:
        UserError: the variants have no step in common.
    """
    if "step" not in table.columns or table["step"].nunique() == 1:
        return table, None
    steps = set.intersection(*(set(rows["step"]) for _, rows in table.groupby("variant")))
    if not steps:
        raise UserError("The variants have no training step in common. Compare them at one step, or leave 'step' out.")
    step = max(steps)
    kept = table[table["step"] == step].reset_index(drop=True)
    unused = count(len(table) - len(kept), "other row")
    return kept, f"judged at step {step}, the last that all variants have; {unused} unused"


def check_protocol(table: pd.DataFrame, where: str = "the table") -> None:
    """Refuse rows that no comparison and no figure may join.

    Raises:
        UserError: ``n_samples`` or a column of ``PROTOCOL`` has more than one value.
    """
    if "n_samples" in table.columns and table["n_samples"].nunique() > 1:
        counts = ", ".join(f"{count:g}" for count in sorted(table["n_samples"].unique()))
        raise UserError(
            f"Column 'n_samples' mixes {counts}. Frechet distances shrink as samples grow, so variants compare only at "
            f"one number: measure all at the same."
        )
    for column in PROTOCOL:
        if column not in table.columns:
            continue
        # Networks of another objective are sampled by a sampler of their own.
        parts = table.groupby(table["variant"].map(objective_of)) if column == "sampler" else [("", table)]
        if any(rows[column].nunique() > 1 for _, rows in parts):
            values = ", ".join(map(str, table[column].unique()))
            raise UserError(f"{where} mixes protocols: {column} {values}. Sample and score all variants with one.")


def untold(table: pd.DataFrame) -> str | None:
    """A note on what the table does not say of how its rows were measured."""
    absent = [column for column in ("n_samples", *PROTOCOL) if column not in table.columns]
    return f"not told by the table, and taken to be the same in all rows: {', '.join(absent)}" if absent else None


def _check_direction(metric: str, where: str) -> None:
    problem = "what a row is of, and no metric" if metric in ABOUT_RUNS else no_distance(metric)
    if problem:
        raise UserError(f"{where}: column '{metric}' is {problem}. Judge by a distance, where lower is better.")


def _texts(table: pd.DataFrame, column: str, where: str) -> "pd.Series[str]":
    refuse(table, table[column].isna() | (table[column].astype(str).str.strip() == ""), column, "empty", where)
    return table[column].astype(str).str.strip()


def _positive(table: pd.DataFrame, column: str, where: str) -> "pd.Series[float]":
    numbers = read_numbers(table, column, where)
    refuse(table, ~np.isfinite(numbers), column, "not a finite number", where)
    refuse(table, numbers <= 0, column, "not positive (logarithms are compared)", where)
    return numbers


def _whole(table: pd.DataFrame, column: str, least: int, where: str) -> "pd.Series[int]":
    refuse(table, table[column].isna(), column, "empty", where)
    numbers = read_numbers(table, column, where)
    refuse(table, ~((numbers >= least) & (numbers % 1 == 0)), column, f"not a whole number from {least}", where)
    return numbers.astype("int64")


def _count_of_patched(table: pd.DataFrame, column: str, where: str) -> "pd.Series[float]":
    """A positive integer, or empty where a variant need have no patches."""
    numbers = read_numbers(table, column, where)
    unpatched = table[column].isna() & table["variant"].map(is_unpatched)
    refuse(table, ~unpatched & ~((numbers >= 1) & (numbers % 1 == 0)), column, "not a positive integer", where)
    return numbers


def _standard_errors(table: pd.DataFrame, column: str, where: str) -> "pd.Series[float]":
    numbers = read_numbers(table, column, where)
    refuse(
        table, table[column].notna() & ~(np.isfinite(numbers) & (numbers >= 0)), column, "negative or no number", where
    )
    return numbers


def _check_distances(table: pd.DataFrame, metric: str, where: str) -> None:
    """Refuse FIDs that are none, and a number of samples that the metric's name contradicts."""
    column = parse_column(metric)
    if column and column.metric == HEADLINE and column.features in HEADLINE.names:
        refuse(table, table[metric] > MOST_FID, metric, f"over {MOST_FID}, which no FID is (a date?)", where)
    samples = re.fullmatch(r"fid(\d+)k", metric)
    if samples and "n_samples" in table.columns and table["n_samples"].nunique() == 1:
        other = table["n_samples"] != 1000 * int(samples[1])
        refuse(table, other, "n_samples", f"another number than that in the name {metric}", where)


def _check_names(table: pd.DataFrame, where: str) -> None:
    """Refuse names, steps and tokens that contradict other columns."""
    for variant, size, patch in zip(table["variant"], table["size"], table["patch"], strict=True):
        parts = name_parts(variant)
        if parts and (parts[0] != size or (parts[1] and parts[1] != patch)):
            raise UserError(
                f"{where}: the name {variant} says another size or patch than its columns, size {size} and "
                f"patch {patch:g}. Correct the one that is wrong."
            )
    if "steps" in table.columns:
        refuse(table, table["steps"] != table["step"], "steps", "another number than column 'step' has", where)
    if "tokens" in table.columns:
        positions = (table["tokens"] * table["patch"] ** 2).dropna()
        other = positions.index[positions != positions.iloc[:1].sum()]
        if len(other):
            first, second = table["variant"].loc[positions.index[0]], table["variant"].loc[other[0]]
            raise UserError(
                f"{where}: columns 'tokens' and 'patch' give {first} and {second} latents of different sizes. Correct "
                "them, or compare variants on one size of images."
            )


def _check_runs(table: pd.DataFrame, where: str) -> None:
    keys = [column for column in ("variant", "seed", "step") if column in table.columns]
    twice = table[table.duplicated(keys)]
    if not twice.empty:
        run = ", ".join(f"{key} {twice[key].iloc[0]}" for key in keys)
        raise UserError(
            f"{where}: more than one row for {run}. "
            "Tell runs apart by a 'seed' or 'step' column, and judge one protocol at a time (one guidance_scale)."
        )


def _check_attributes(table: pd.DataFrame, where: str) -> None:
    columns = [column for column in (*ATTRIBUTES, "tokens") if column in table.columns]
    counts = table.groupby("variant")[columns].nunique()
    for column in columns:
        if (counts[column] > 1).any():
            variant = str(counts.index[counts[column] > 1][0])
            values = sorted(map(str, table.loc[table["variant"] == variant, column].unique()))
            raise UserError(f"{where}: {variant} has more than one {column} ({', '.join(values)}). Keep one.")
    models = table.drop_duplicates("variant").dropna(subset="patch")
    models = models.assign(family=models["variant"].map(family_of))
    shared = models[models.duplicated(["family", "size", "patch"], keep=False)]
    if not shared.empty:
        names = ", ".join(shared["variant"].iloc[:2])
        raise UserError(f"{where}: {names} share family, size and patch. Give them one name and a 'seed' column.")
