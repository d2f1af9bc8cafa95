"""The table of metrics that the claims are judged on: read, checked, cut to one training step."""

from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from dit_scaling.common.errors import UserError
from dit_scaling.metrics.catalogue import HEADLINE, parse_column
from dit_scaling.variants import UNET

ATTRIBUTES = ("size", "patch", "params_m", "gflops")
REQUIRED = ("variant", *ATTRIBUTES)
DEFAULT_METRIC = "fid50k"
PROTOCOL = ("extractor", "sampler", "sampling_steps", "guidance_scale")
"""Columns in which rows must agree to be compared, beside the number of samples."""


def family_of(variant: str) -> str:
    """The family of a variant: ``DiT`` of ``DiT-XL/2``."""
    return variant.split("-", 1)[0]


def read_metrics_table(path: Path, metric: str | None = None) -> pd.DataFrame:
    """Read a table of metrics, one row per trained model (and step), and check it.

    Args:
        path: ``*.parquet``, or CSV with any other suffix; CSV lines that start with ``#`` are comments. Columns:
            variant (``FAMILY-SIZE/PATCH``), size, patch (integer; may be empty for the family ``UNet``), params_m
            (1e6), gflops (1e9 multiply-adds), a metric; optionally seed, n_samples, ``<metric>_se``, step, and tokens,
            empty where patch is.
        metric: name of the metric's column, as for ``find_metric``.

    Raises:
        UserError: the file cannot be read, or ``check_table`` refuses its content.
    """
    return check_table(_read(path), metric, str(path))


def find_metric(table: pd.DataFrame, metric: str | None = None, where: str = "the table") -> str:
    """The metric's column: ``metric``, else ``fid50k``, else the only Frechet distance (fid... or fd_...).

    Its standard error or bias do not count.

    Raises:
        UserError: there is no such column, or there are several.
    """
    if metric is not None:
        if metric not in table.columns:
            raise UserError(f"{where}: no column '{metric}'. Its columns are {', '.join(map(str, table.columns))}.")
        return metric
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
    missing = [column for column in REQUIRED if column not in table.columns]
    if missing:
        raise UserError(
            f"{where}: missing column {', '.join(missing)}. A table needs {', '.join(REQUIRED)} and a metric."
        )
    metric = find_metric(table, metric, where)
    if table.empty:
        raise UserError(f"{where}: no rows. Give one row per trained model.")
    checked = table.reset_index(drop=True)
    for column in ("variant", "size"):
        _refuse(
            checked, checked[column].isna() | (checked[column].astype(str).str.strip() == ""), column, "empty", where
        )
        checked[column] = checked[column].astype(str).str.strip()
    for column in ("params_m", "gflops", metric, "n_samples"):
        if column in checked.columns:
            checked[column] = _positive(checked, column, where)
    for column in ("patch", "tokens"):
        if column in checked.columns:
            checked[column] = _count_of_patched(checked, column, where)
    if f"{metric}_se" in checked.columns:
        checked[f"{metric}_se"] = _standard_errors(checked, f"{metric}_se", where)
    for column in ("seed", "step"):
        if column in checked.columns:
            _refuse(checked, checked[column].isna(), column, "empty", where)
    _check_runs(checked, where)
    _check_attributes(checked, where)
    return checked


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
    return kept, f"judged at step {step}, the last that all variants have; {len(table) - len(kept)} other rows unused"


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
        if column in table.columns and table[column].nunique() > 1:
            values = ", ".join(map(str, table[column].unique()))
            raise UserError(f"{where} mixes protocols: {column} {values}. Sample and score all variants with one.")


def _read(path: Path) -> pd.DataFrame:
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        content = "\n".join("" if line.startswith("#") else line for line in lines)
        return pd.read_csv(StringIO(content), dtype={"variant": str, "size": str}, skipinitialspace=True)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist. Run the stage that makes it, or check the path.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error}). Give a CSV or Parquet file.") from None
    except ValueError as error:  # undecodable text, no columns, ragged lines, broken Parquet
        raise UserError(f"{path} is no table ({error}). Give CSV with a header line, or Parquet.") from None


def _refuse(table: pd.DataFrame, bad: ArrayLike, column: str, problem: str, where: str) -> None:
    rows = np.flatnonzero(np.asarray(bad, dtype=bool))
    if len(rows):
        row = int(rows[0])
        raise UserError(
            f"{where}: column '{column}' is {problem} in data row {row + 1} ({table['variant'].iloc[row]}: "
            f"{table[column].iloc[row]}). Correct the value or leave the row out."
        )


def _numbers(table: pd.DataFrame, column: str) -> "pd.Series[float]":
    return pd.to_numeric(table[column], errors="coerce").astype(float)


def _positive(table: pd.DataFrame, column: str, where: str) -> "pd.Series[float]":
    numbers = _numbers(table, column)
    _refuse(table, ~np.isfinite(numbers), column, "not a finite number", where)
    _refuse(table, numbers <= 0, column, "not positive (logarithms are compared)", where)
    return numbers


def _count_of_patched(table: pd.DataFrame, column: str, where: str) -> "pd.Series[float]":
    """A positive integer, or empty for a U-Net, which has no patches."""
    numbers = _numbers(table, column)
    unpatched = table[column].isna() & (table["variant"].map(family_of) == UNET)
    _refuse(table, ~unpatched & ~((numbers >= 1) & (numbers % 1 == 0)), column, "not a positive integer", where)
    return numbers


def _standard_errors(table: pd.DataFrame, column: str, where: str) -> "pd.Series[float]":
    numbers = _numbers(table, column)
    _refuse(
        table, table[column].notna() & ~(np.isfinite(numbers) & (numbers >= 0)), column, "negative or no number", where
    )
    return numbers


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
    for column in (*ATTRIBUTES, "tokens"):
        if column in table.columns:
            counts = table.groupby("variant")[column].nunique()
            if (counts > 1).any():
                variant = str(counts.index[counts > 1][0])
                values = sorted(map(str, table.loc[table["variant"] == variant, column].unique()))
                raise UserError(f"{where}: {variant} has more than one {column} ({', '.join(values)}). Keep one.")
    models = table.drop_duplicates("variant").dropna(subset="patch")
    models = models.assign(family=models["variant"].map(family_of))
    shared = models[models.duplicated(["family", "size", "patch"], keep=False)]
    if not shared.empty:
        names = ", ".join(shared["variant"].iloc[:2])
        raise UserError(f"{where}: {names} share family, size and patch. Give them one name and a 'seed' column.")
