"""Points of others beside the study's in its figures: own earlier runs, or published ones."""

from pathlib import Path

import numpy as np
import pandas as pd

from dit_scaling.common.errors import UserError

NAME, VALUE = "variant", "value"
PLACES = ("gflops", "params_m")
MOST = 200  # points that a figure can show apart


def read_points(path: Path, metric: str) -> pd.DataFrame:
    """A CSV with one row a point.

    Args:
        path: with the columns ``variant`` (its name in the figures), ``gflops`` (1e9 multiply-adds of a forward pass)
            and ``params_m`` (1e6 parameters), one of which may be empty, and the distance.
        metric: the study's metric; the distance's column is called that, or ``value``.

    Returns:
        columns variant, gflops, params_m and value.

    Raises:
        UserError: the file is missing or no CSV, a column or a name is missing, or a number is not positive and finite.
    """
    empty = {column: ["", "NA", "NaN", "nan"] for column in (*PLACES, VALUE, metric)}  # but a name such as NA is one
    try:
        table = pd.read_csv(path, dtype={NAME: str}, keep_default_na=False, na_values=empty)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist. Give a CSV with the columns {_columns(metric)}.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as CSV ({error}). Its columns must be {_columns(metric)}.") from None
    value = metric if metric in table.columns else VALUE
    missing = [name for name in (NAME, value) if name not in table.columns]
    if missing or not set(PLACES) & set(table.columns):
        raise UserError(f"{path} lacks a column. It needs {_columns(metric)}; it has {', '.join(table.columns)}.")
    if not 0 < len(table) <= MOST:
        raise UserError(f"{path} has {len(table)} rows. A figure shows 1 to {MOST} points beside the study's.")
    points = table.reindex(columns=[NAME, *PLACES, value]).set_axis([NAME, *PLACES, VALUE], axis=1)
    if (nameless := points[NAME].str.strip() == "").any():
        row = int(np.flatnonzero(nameless)[0]) + 2
        raise UserError(f"{path}, line {row}: {NAME} is empty; give the point's name.")
    for column in (*PLACES, VALUE):
        numbers = pd.to_numeric(points[column], errors="coerce")
        wrong = points[column].notna() & ~(np.isfinite(numbers) & (numbers > 0))
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0]) + 2
            raise UserError(
                f"{path}, line {row}: {column} is {str(points[column][wrong].iloc[0])!r}; give a positive number."
            )
        points[column] = numbers
    lacking = points[VALUE].isna() | points[list(PLACES)].isna().all(axis=1)
    if lacking.any():
        row = int(np.flatnonzero(lacking)[0]) + 2
        raise UserError(f"{path}, line {row}: give the distance, and gflops or params_m.")
    return points


def _columns(metric: str) -> str:
    return f"{NAME}, {' and/or '.join(PLACES)}, and {metric} (or {VALUE})"
