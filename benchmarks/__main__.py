"""Measure rows, write results/bench/, print the table, and compare with the baseline."""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.harness import ROUNDS, measure
from benchmarks.registry import choose
from benchmarks.report import describe_cpu, describe_machine, failures, read_baseline, table, write_baseline
from benchmarks.row import DisagreementError, Row, UnavailableError
from benchmarks.worker import apart
from dit_scaling.common.files import write_json
from dit_scaling.common.provenance import git_commit

RESULTS = Path("results", "bench")


def main() -> int:
    """The command; its exit code is 1 where a row disagrees with its peer or has become slower."""
    given = _arguments()
    rows = choose(given.only)
    if given.list or not rows:
        print("\n".join(f"{row.name:<42}{row.what}" for row in rows or choose()))
        return 0 if rows else 2
    machine = describe_machine()
    folder = RESULTS / "quick" if given.quick else RESULTS
    results = []
    for row in rows:
        print(f"{row.name} ...", file=sys.stderr, flush=True)
        result = _measure(row, 5 if given.quick else given.rounds, given.quick)
        results.append(result)
        record = {**result, "machine": machine, "commit": git_commit(), "quick": given.quick}
        write_json(folder / f"{row.name}.json", record)
    print(f"{describe_cpu(machine)}. Ratios are the peer's time over ours, medians over rounds.\n")
    print(table(results))
    if given.quick:
        return 0
    if given.write_baseline:
        write_baseline(results, machine)
    found = failures(results, None if given.write_baseline else read_baseline(machine))
    for line in found:
        print(f"Failed: {line}.", file=sys.stderr)
    return int(bool(found))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--list", action="store_true", help="name the rows and measure none")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"at least 5 ({ROUNDS})")
    parser.add_argument("--quick", action="store_true", help="small sizes, to try the harness; no baseline")
    parser.add_argument("--write-baseline", action="store_true", help="keep the ratios as the new baseline")
    given = parser.parse_args()
    if given.rounds < 5:
        parser.error("--rounds: a median and its spread want at least 5")
    return given


def _measure(row: Row, rounds: int, quick: bool) -> dict[str, Any]:
    """The row's result, with the peak memory of each side's process."""
    names = {"name": row.name, "what": row.what, "peer": row.peer, "threads": row.threads}
    try:
        with apart(row, "ours", quick) as ours, apart(row, "peer", quick) as peer:
            measured = measure(row, ours.side, peer.side, rounds)
            memory = {"ours": ours.peak_memory(), "peer": peer.peak_memory()}
    except UnavailableError as error:
        return names | {"unavailable": str(error)}
    except DisagreementError as error:
        return names | {"disagreement": str(error)}
    figures = {key: getattr(measured, key) for key in ("ratio", "spread", "met")}
    return names | asdict(measured) | figures | {"memory": memory}


if __name__ == "__main__":
    sys.exit(main())
