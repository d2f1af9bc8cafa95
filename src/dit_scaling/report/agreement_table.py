"""The report's table of all metrics on the same samples: which order the variants as the headline distance does."""

from pathlib import Path

import pandas as pd

from dit_scaling.common.errors import UserError
from dit_scaling.common.words import listing, of_all, sentence
from dit_scaling.metrics.catalogue import parse_column
from dit_scaling.report.style import head_column
from dit_scaling.report.table import Column, Row, Table, number

COLUMNS = (
    *("metric", "higher_is_better", "agreement", "spearman", "p", "pearson_gflops", "pearson_params"),
    *("claimed_1", "pairs_1", "claimed_2", "pairs_2"),
)
UNDEFINED = "undefined"


def tabulate_agreement(path: Path) -> Table:
    """agreement.csv of the aggregate stage; the first row is the headline.

    Raises:
        UserError: the file is missing or not what it should be.
    """
    try:
        data = pd.read_csv(path)
        missing = set(COLUMNS) - set(data.columns)
        if missing:
            raise ValueError(f"no column {', '.join(sorted(missing))}")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist. Run: snakemake --until aggregate.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is no table of metrics ({error}). Run: snakemake --forcerun aggregate.") from None
    data.insert(1, "headline", [place == 0 for place in range(len(data))])
    columns = (
        Column("metric", lambda row: _name(row["metric"]), words=True),
        Column("better", lambda row: "higher" if row["higher_is_better"] else "lower", words=True, narrow=False),
        Column("beside the headline", lambda row: "headline" if row["headline"] else row["agreement"], words=True),
        number("rank correlation", "spearman", _describe),
        number("p", form=_describe, narrow=False),
        Column("agree on claim 1", lambda row: _count(row, 1), narrow=False),
        Column("agree on claim 2", lambda row: _count(row, 2), narrow=False),
        number("r with ln Gflops", "pearson_gflops", _describe, narrow=False),
        number("r with ln params", "pearson_params", _describe, narrow=False),
    )
    return Table("agreement", data, columns)


def describe_agreement(table: Table) -> str:
    """How many other metrics order the variants as the headline does, and which disagree."""
    names = [row[0] for row in table.rows]
    verdicts = list(table.data["agreement"])
    others = list(zip(names[1:], verdicts[1:], strict=True))
    if not others:
        return "No other metric was measured"
    agree = sum(verdict == "agrees" for _, verdict in others)
    against = [name for name, verdict in others if verdict == "disagrees"]
    verb = "orders" if 1 in (agree, len(others)) else "order"
    text = f"{of_all(agree, len(others), 'other metric')} {verb} the variants as the distance does"
    return sentence(text) + (f"; {listing(against)} the other way" if against else "")


def _name(column: str) -> str:
    found = parse_column(column)
    return head_column(found.metric, found.features) if found else column


def _count(row: Row, claim: int) -> str:
    return f"{row[f'claimed_{claim}']} of {row[f'pairs_{claim}']}"


def _describe(value: float) -> str:
    return UNDEFINED if pd.isna(value) else f"{value:.2g}"
