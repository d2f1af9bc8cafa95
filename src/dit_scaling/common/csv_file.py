"""Tables as CSV files that a spreadsheet opens as what they are."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dit_scaling.common.files import atomic_path

if TYPE_CHECKING:
    import pandas as pd

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet computes a cell that begins so, whoever wrote the text that came to stand there."""


def write_csv(table: "pd.DataFrame", path: Path) -> None:
    """Write a table, without its index; texts that a spreadsheet would compute get an apostrophe before them.

    Raises:
        DiskError: the disk is full, read-only or failing.
    """
    with atomic_path(path) as temporary:
        table.map(inert).to_csv(temporary, index=False)


def inert(cell: Any) -> Any:
    """A cell as it is, but for text that is a formula; a text that is a number, such as -1.5, is none."""
    if not isinstance(cell, str) or not cell.startswith(FORMULA):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell
