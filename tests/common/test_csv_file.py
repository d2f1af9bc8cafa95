import csv
from pathlib import Path

import pandas as pd
import pytest

from dit_scaling.common.csv_file import write_csv


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+2", "'=1+2"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("-1.5", "-1.5"),
        ("+3", "+3"),
        (-1.5, "-1.5"),
        ("a = b", "a = b"),
        ("", ""),
        (None, ""),
        (True, "True"),
    ],
)
def test_only_what_a_spreadsheet_would_compute_is_changed(tmp_path: Path, cell: object, written: str) -> None:
    write_csv(pd.DataFrame({"cell": [cell], "other": [1]}, dtype=object), tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="") as stream:
        assert list(csv.reader(stream)) == [["cell", "other"], [written, "1"]]


def test_numbers_are_written_as_before(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": [1, -2], "b": [0.1, float("nan")], "c": ["x", "y"]})
    write_csv(table, tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text() == table.to_csv(index=False)
