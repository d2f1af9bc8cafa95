"""The file of a table of metrics: text of any spreadsheet or Parquet, as columns under the names that we give them."""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import pandas as pd

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import open_regular

TEXT_COLUMNS = ("variant", "size", "extractor", "sampler", "reference")
"""What stays text, whatever it looks like."""
OTHER_NAMES = dict.fromkeys(("guidance", "cfg", "cfg_scale", "cfg-scale", "guidance scale"), "guidance_scale")
"""What others call a column."""
SEPARATORS = ",;\t|"
BOMS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
FOREIGN = {
    b"PK\x03\x04": "a workbook of Excel or OpenDocument, or another zip archive",
    b"\xd0\xcf\x11\xe0": "a workbook of an old Excel (.xls)",
    b"\x1f\x8b": "compressed by gzip",
    b"{": "JSON",
    b"[": "JSON",
    b"<": "HTML or XML",
    b"|": "a table in Markdown",
}
"""First bytes of files that people take for tables."""


def read_table_file(path: Path, expected: Sequence[str]) -> pd.DataFrame:
    """The columns of a Parquet file, or of text separated by commas, semicolons, tabs or bars.

    Heads lose padding and capitals; lines that start with ``#`` are comments. Numbers stay text where not all of a
    column are plain ones, for ``check_table`` to read or refuse.

    Args:
        path: the content tells the format, whatever the suffix. Text is UTF-8, or UTF-16.
        expected: heads that tell which character separates columns.

    Raises:
        UserError: there is no such file, it is no such table, or two of its heads are one.
    """
    try:
        with open_regular(path) as stream:
            content = stream.read()
        if content.startswith(b"PAR1") or path.suffix == ".parquet":
            return _named(pd.read_parquet(path), path)
        for first, kind in FOREIGN.items():
            if content.startswith(first):
                raise UserError(f"{path} is no table but {kind}. Save the table as CSV, or give Parquet.")
        return _parse(_decode(content), path, expected)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist. Run the stage that makes it, or check the path.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error}). Give a CSV or Parquet file.") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is no table: no text in UTF-8 or UTF-16. Save it as CSV in UTF-8.") from None
    except ValueError as error:  # no columns, ragged lines, broken Parquet
        raise UserError(f"{path} is no table ({error}). Give CSV with a header line, or Parquet.") from None


def _decode(content: bytes) -> str:
    """Text by its byte order mark; without one UTF-16 shows by the zeros beside its ASCII letters."""
    encoding = next((name for bom, name in BOMS.items() if content.startswith(bom)), "utf-8")
    if encoding == "utf-8" and b"\0" in content[:4]:
        encoding = "utf-16-be" if content[:1] == b"\0" else "utf-16-le"
    return content.decode(encoding)


def _parse(text: str, path: Path, expected: Sequence[str]) -> pd.DataFrame:
    lines = ["" if line.startswith(("#", '"#')) else line for line in text.splitlines()]
    head = next((number for number, line in enumerate(lines) if line.strip()), None)
    if head is not None and re.fullmatch(r'"?sep=.?"?', lines[head].strip(), re.IGNORECASE):  # Excel's own mark
        lines[head] = ""
        head = next((number for number, line in enumerate(lines) if line.strip()), None)
    if head is None:
        raise ValueError("no columns")
    split = {separator: _heads(lines[head], separator) for separator in SEPARATORS}
    separator = max(split, key=lambda one: len(set(split[one]) & set(expected)))
    if not set(split[separator]) & set(expected):
        raise ValueError(f"its first line has none of {', '.join(expected)}")
    heads = split[separator]
    body = StringIO("\n".join(lines[head + 1 :]) + "\n")
    width = len(heads)
    rows = [row for row in csv.reader(body, delimiter=separator, skipinitialspace=True) if any(map(str.strip, row))]
    for number, row in enumerate(rows, start=1):
        if len(row) != width:
            raise ValueError(f"data row {number} has {len(row)} cells, the head {width}")
    # Excel ends lines in separators after columns that were emptied.
    held = [place for place, name in enumerate(heads) if name or any(row[place].strip() for row in rows)]
    heads, rows = [heads[place] for place in held], [[row[place] for place in held] for row in rows]
    _refuse_twice(heads, path)
    # Heads are named here: pandas would rename the second of two.
    table = pd.DataFrame(rows, columns=heads, dtype=object)
    table = table.map(str.strip).replace({"": None, "nan": None, "NaN": None, "NA": None})
    return table.assign(**{name: _plain_numbers(table[name]) for name in table.columns if name not in TEXT_COLUMNS})


def _heads(line: str, separator: str) -> list[str]:
    return [_head(head) for head in next(csv.reader([line], delimiter=separator, skipinitialspace=True))]


def _head(text: object) -> str:
    name = str(text).strip().lower()
    return OTHER_NAMES.get(name, name)


def _named(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    heads = [_head(head) for head in table.columns]
    _refuse_twice(heads, path)
    return table.set_axis(heads, axis="columns")


def _refuse_twice(heads: Sequence[str], path: Path) -> None:
    twice = [head for head, count in Counter(heads).items() if count > 1]
    if twice:
        raise UserError(f"{path}: column '{twice[0]}' stands there twice. Leave out the one that does not count.")


def _plain_numbers(column: "pd.Series") -> "pd.Series":
    numbers = pd.to_numeric(column, errors="coerce")
    return column if (numbers.isna() & column.notna()).any() else numbers
