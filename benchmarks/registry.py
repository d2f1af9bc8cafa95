"""All rows, in the order of the table: the ROWS of each topic's module, after which their names begin."""

from importlib import import_module

from benchmarks.row import Row

TOPICS = (
    "training",
    "pair",
    "sampling",
    "extraction",
    "parquet",
    "reader",
    "frechet",
    "features",
    "ema",
    "startup",
    "study",
)


def rows_of(topic: str) -> tuple[Row, ...]:
    """Rows of one module; no other is imported."""
    rows: tuple[Row, ...] = import_module(f"benchmarks.{topic}").ROWS
    return rows


def choose(part: str = "") -> list[Row]:
    """Rows whose name contains ``part``."""
    return [row for topic in TOPICS for row in rows_of(topic) if part in row.name]


def find(name: str) -> Row:
    """The row of this name."""
    return next(row for row in rows_of(name.partition("-")[0]) if row.name == name)
