"""Cells of a table of metrics as numbers of a range, or refused with their place."""

import math
import re
from datetime import date, timedelta
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from dit_scaling.common.errors import UserError


def refuse(table: pd.DataFrame, bad: ArrayLike, column: str, problem: str, where: str) -> None:
    """Refuse the first row that is ``bad``, (n,) bool.

    Raises:
        UserError: there is one.
    """
    rows = np.flatnonzero(np.asarray(bad, dtype=bool))
    if len(rows):
        row = int(rows[0])
        raise UserError(
            f"{where}: column '{column}' is {problem} in data row {row + 1} ({table['variant'].iloc[row]}: "
            f"{table[column].iloc[row]}). Correct the value or leave the row out."
        )


def read_numbers(table: pd.DataFrame, column: str, where: str) -> "pd.Series[float]":
    """A column as float64; NaN where a cell is empty or no number.

    A decimal comma is read where it can be nothing else.

    Raises:
        UserError: a cell is a date or a truth value, or its comma may part decimals or thousands.
    """
    cells = table[column]
    no_number = [isinstance(cell, bool | np.bool_ | date | timedelta | np.datetime64) for cell in cells]
    refuse(table, no_number, column, "a date or a truth value, and no number,", where)
    texts = [cell.strip() for cell in cells if isinstance(cell, str)]
    with_comma = [text for text in texts if "," in text]
    decimal = [text for text in with_comma if re.fullmatch(r"[+-]?\d+,\d+", text)]
    # 19,470 alone may be thousands; 153,6 or 0,363 in the same column shows that they are decimals.
    thousands = [text for text in decimal if re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", text)]
    if with_comma and (len(decimal) < len(with_comma) or len(thousands) == len(decimal)):
        doubtful = next(text for text in with_comma if text not in decimal or len(decimal) == len(with_comma))
        bad = [isinstance(cell, str) and cell.strip() == doubtful for cell in cells]
        refuse(table, bad, column, "a number whose comma may part decimals or thousands", where)
    return pd.Series([_number(cell) for cell in cells], index=table.index, dtype=float)


def _number(cell: Any) -> float:
    if isinstance(cell, str):
        text = cell.strip().replace(",", ".")
        try:
            return float(text) if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf", text) else math.nan
        except ValueError:
            return math.nan
    return float(cell) if isinstance(cell, Real) else math.nan
