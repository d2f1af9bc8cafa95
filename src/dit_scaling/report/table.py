"""A table: its data, written as CSV, and the columns that a page shows of it as text."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from dit_scaling.common.csv_file import write_csv
from dit_scaling.common.words import sentence
from dit_scaling.report.captions import TABLES
from dit_scaling.report.numbers import describe_cell

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """A column as shown: its head, the text of a cell from a row of the data, and whether it holds words.

    ``sort`` gives what rows are sorted by, by default the text. Columns that are not ``narrow`` are left out on phones.
    ``link`` is the address that a cell's text leads to.
    """

    head: str
    describe: Callable[[Row], str]
    words: bool = False
    sort: Callable[[Row], Any] | None = None
    narrow: bool = True
    link: Callable[[Row], str] | None = None
    brief: str = ""
    """What stands in place of a long head, which is then its tooltip."""

    @property
    def title(self) -> str:
        """The head with a capital, where it begins with a word."""
        head = self.brief or self.head
        return sentence(head) if len(head.split()[0].rstrip(",")) > 1 else head


@dataclass(frozen=True)
class Cell:
    """A cell as shown; ``key`` is what its row is sorted by where that is no text."""

    text: str
    column: Column
    key: str | None
    href: str


@dataclass(frozen=True)
class Table:
    """Data in full precision under the names of ``data``'s columns, and how they are shown."""

    name: str
    data: pd.DataFrame
    columns: Sequence[Column]

    @property
    def title(self) -> str:
        return TABLES[self.name]

    @property
    def file(self) -> str:
        """Where the data are, from the folder of the page."""
        return f"tables/{self.name}.csv"

    @property
    def records(self) -> list[Row]:
        found: list[Row] = self.data.to_dict("records")  # type: ignore[assignment]  # column names are texts
        return found

    @property
    def rows(self) -> list[list[str]]:
        """The cells as texts."""
        return [[column.describe(row) for column in self.columns] for row in self.records]

    @property
    def cells(self) -> list[tuple[str, list[Cell]]]:
        """The rows as shown, each with the variant that it is about, if it is about one."""
        return [(str(row.get("variant", "")), [_show(column, row) for column in self.columns]) for row in self.records]

    def only(self, kept: Callable[[Row], bool]) -> "Table":
        """The rows that are kept; the file is still of all."""
        return replace(self, data=self.data[[bool(kept(row)) for row in self.records]])


def _show(column: Column, row: Row) -> Cell:
    key = column.sort(row) if column.sort else None
    number = isinstance(key, int | float) and not isinstance(key, bool) and math.isfinite(key)
    return Cell(column.describe(row), column, f"{key:.6g}" if number else None, column.link(row) if column.link else "")


def save_table(table: Table, folder: Path) -> None:
    """Write the data as ``folder``/NAME.csv."""
    write_csv(table.data, folder / f"{table.name}.csv")


def words(head: str, key: str | None = None, *, narrow: bool = True) -> Column:
    """A column of words; ``key`` names the data's column, by default the head."""
    return Column(head, lambda row: describe_cell(row[key or head]), words=True, narrow=narrow)


def number(
    head: str, key: str | None = None, form: Callable[[Any], str] = describe_cell, *, narrow: bool = True
) -> Column:
    """A column of numbers, each written by ``form``."""
    name = key or head
    return Column(head, lambda row: form(row[name]), sort=lambda row: row[name], narrow=narrow)


def list_facts(name: str, record: Any, labels: Mapping[str, str], others: Mapping[str, str]) -> Table:
    """Scalars of a JSON record: those of ``labels`` always, then what else there is.

    Others are named by ``others``, and else by the words of their keys.
    """
    found = dict(_flatten(record))
    known = [(key, label, found.pop(key, None)) for key, label in labels.items()]
    words_of = {key: sentence(key.replace("_", " ").replace(".", ": ")) for key in found}
    rest = [(key, others.get(key, words_of[key]), value) for key, value in found.items()]
    data = pd.DataFrame([*known, *rest], columns=["key", "fact", "value"], dtype=object)
    return Table(name, data, (words("fact"), words("value")))


def _flatten(record: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Paths and values of all scalars; lists as short texts."""
    for key, value in record.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{path}.")
        else:
            yield path, _describe_list(value) if isinstance(value, list) else value


def _describe_list(values: list[Any]) -> str:
    """Short lists in full, counts per class as their total, others by their length."""
    if len(values) > 4 and all(isinstance(value, int) for value in values):
        return f"{sum(values):,} in all, {min(values):,} to {max(values):,} each"
    plain = len(values) <= 20 and not any(isinstance(value, dict | list) for value in values)
    return ", ".join(map(describe_cell, values)) if plain else f"{len(values):,} entries"
