"""A table: its data, written as CSV, and the columns that a page shows of it as text."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dit_scaling.common.csv_file import write_csv
from dit_scaling.report.captions import TABLES
from dit_scaling.report.numbers import describe_cell

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """A column as shown: its head, the text of a cell from a row of the data, and whether it holds words."""

    head: str
    describe: Callable[[Row], str]
    words: bool = False


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
    def rows(self) -> list[list[str]]:
        """The cells as texts."""
        records: list[Row] = self.data.to_dict("records")  # type: ignore[assignment]  # column names are texts
        return [[column.describe(row) for column in self.columns] for row in records]


def save_table(table: Table, folder: Path) -> None:
    """Write the data as ``folder``/NAME.csv."""
    write_csv(table.data, folder / f"{table.name}.csv")


def words(head: str, key: str | None = None) -> Column:
    """A column of words; ``key`` names the data's column, by default the head."""
    return Column(head, lambda row: describe_cell(row[key or head]), words=True)


def number(head: str, key: str | None = None, form: Callable[[Any], str] = describe_cell) -> Column:
    """A column of numbers, each written by ``form``."""
    return Column(head, lambda row: form(row[key or head]))


def list_facts(name: str, record: Any, labels: Mapping[str, str]) -> Table:
    """Scalars of a JSON record, named by ``labels`` where they are there and by their keys elsewhere."""
    found = dict(_flatten(record))
    known = [(key, label, found.pop(key, None)) for key, label in labels.items()]
    rest = [(key, key.replace("_", " "), value) for key, value in found.items()]
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
