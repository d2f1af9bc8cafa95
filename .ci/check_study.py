"""Fail unless a finished study has all files that its rules declare, a readable table and a verdict on each claim.

Reads the output of `snakemake --summary` on stdin:  snakemake --summary | python .ci/check_study.py results/embedded
"""

import csv
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import pandas as pd

from dit_scaling.claims.verdicts import Verdict


def undelivered(summary: Iterable[str]) -> list[str]:
    """Declared outputs that are missing or out of date."""
    rows = list(csv.DictReader(summary, delimiter="\t"))
    if not any(row["output_file"].endswith("report.html") for row in rows):
        return ["snakemake --summary: no report.html among the declared outputs"]
    return [
        f"{row['output_file']}: {row['status']}, {row['plan']}"
        for row in rows
        if row["status"] == "missing" or row["plan"] != "no update"
    ]


def unjudged(claims: Path, report: Path) -> list[str]:
    """Claims without verdict or reason, and verdicts that the report does not tell."""
    judged = json.loads(claims.read_text())["claims"]
    if not judged:
        return [f"{claims}: no claims"]
    html = report.read_text()
    return [
        f"{claims}: claim {claim['claim']}: verdict {claim.get('verdict')!r}, reason {claim.get('reason')!r}"
        for claim in judged
        if claim.get("verdict") not in get_args(Verdict) or not claim.get("reason") or claim["verdict"] not in html
    ]


def unequal_tables(parquet: Path, table: Path) -> list[str]:
    """Whether the two forms of the table differ, or hold nothing."""
    rows, same = pd.read_parquet(parquet), pd.read_csv(table)
    if rows.empty:
        return [f"{parquet}: no rows"]
    return [] if list(rows.columns) == list(same.columns) and len(rows) == len(same) else [f"{table}: not {parquet}"]


def main() -> int:
    results = Path(sys.argv[1])
    problems = undelivered(sys.stdin)
    if not problems:
        problems = [
            *unjudged(results / "claims.json", results / "report.html"),
            *unequal_tables(results / "metrics.parquet", results / "metrics.csv"),
        ]
    print("\n".join(problems) or f"{results}: complete")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
