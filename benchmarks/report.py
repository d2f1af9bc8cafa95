"""The table, and the baseline that the next run is compared with."""

import importlib.metadata
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dit_scaling.common.files import read_json, write_json

BASELINE = Path(__file__).with_name("baseline.json")
LIBRARIES = ("torch", "diffusers", "clean-fid", "torch-fidelity", "webdataset", "snakemake", "numpy", "scipy")

SAME_MACHINE = ("cpu", "family", "model", "cores")
"""Facts in which two machines have to agree for one's ratios to be the other's."""

Machine = Mapping[str, Any]
Result = Mapping[str, Any]
"""Of one row: its names, and either figures, or why there are none (``unavailable``, ``disagreement``)."""


@dataclass(frozen=True)
class Baseline:
    """Stored ratios that a run is compared with."""

    rows: Mapping[str, Mapping[str, float]]
    """By row, its ``ratio`` and ``spread``."""
    of: str
    """The machines that they were measured on, in words."""


def describe_machine() -> dict[str, Any]:
    """What absolute times belong to."""
    lines = subprocess.run(["lscpu"], capture_output=True, text=True, check=False).stdout.splitlines()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return {
        "cpu": facts.get("Model name", "unknown"),
        "family": facts.get("CPU family", "unknown"),
        "model": facts.get("Model", "unknown"),
        "cores": os.cpu_count(),
        "versions": {name: importlib.metadata.version(name) for name in LIBRARIES},
    }


def describe_cpu(machine: Machine) -> str:
    """The machine in a line."""
    return f"{machine['cpu']} (family {machine['family']}, model {machine['model']}), {machine['cores']} cores"


def table(results: Sequence[Result]) -> str:
    """Rows for people, in Markdown."""
    lines = [
        "| row | ours beside peer | threads | ratio | spread | target | ours | peer | peak memory, ours / peer |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    return "\n".join([*lines, *map(_line, results)])


def failures(results: Iterable[Result], baseline: Baseline | None) -> list[str]:
    """Rows that disagree with their peer, and those whose ratio is below its stored value by more than the spread."""
    found = []
    for result in results:
        name = result["name"]
        stored = None if baseline is None else baseline.rows.get(name)
        if "disagreement" in result:
            found.append(f"{name}: ours and peer disagree: {result['disagreement']}")
        elif baseline is not None and stored is not None and "ratio" in result and result["ratio"] < _floor(stored):
            found.append(
                f"{name}: ratio {result['ratio']:.3g} is below its baseline of {stored['ratio']:.3g} by more than "
                f"the spread of {stored['spread']:.2g} ({baseline.of})"
            )
    return found


def read_baseline(machine: Machine, path: Path = BASELINE) -> Baseline | None:
    """What is stored of this machine; of one that is new, each row's lowest on any machine; None where nothing is.

    Ratios differ between processors by more than between runs on one.
    """
    stored = _read(path)
    own = [one for one in stored if _same(one["machine"], machine)]
    rows: dict[str, Mapping[str, float]] = {}
    for one in own or stored:
        for name, row in one["rows"].items():
            rows[name] = min(rows.get(name, row), row, key=_floor)
    if not rows:
        return None
    machines = " or ".join(describe_cpu(one["machine"]) for one in own or stored)
    return Baseline(rows, machines if own else f"lowest on {machines}; this machine has no baseline yet")


def write_baseline(results: Iterable[Result], machine: Machine, path: Path = BASELINE) -> None:
    """Keep ratios and spreads; rows that were not measured now, and other machines, keep what is stored of them."""
    stored = _read(path)
    rows = {name: row for one in stored if _same(one["machine"], machine) for name, row in one["rows"].items()}
    rows |= {
        result["name"]: {key: round(result[key], 4) for key in ("ratio", "spread")}
        for result in results
        if "ratio" in result
    }
    others = [one for one in stored if not _same(one["machine"], machine)]
    write_json(path, {"machines": [*others, {"machine": machine, "rows": rows}]})


def _read(path: Path) -> list[Mapping[str, Any]]:
    return list(read_json(path)["machines"]) if path.exists() else []


def _same(one: Machine, other: Machine) -> bool:
    return all(one[fact] == other[fact] for fact in SAME_MACHINE)


def _floor(stored: Mapping[str, float]) -> float:
    """The least ratio that does not fail."""
    return stored["ratio"] - stored["spread"]


def _line(result: Result) -> str:
    head = f"| {result['name']} | {result['what']} beside {result['peer']} | {result['threads']} |"
    for problem in ("unavailable", "disagreement"):
        if problem in result:
            return f"{head} {problem}: {result[problem]} | | | | | |"
    seconds = [sorted(one[side] for one in result["rounds"])[len(result["rounds"]) // 2] for side in ("ours", "peer")]
    memory = " / ".join(f"{peak / 2**20:,.0f} MiB" for peak in result.get("memory", {}).values())
    mark = "" if result["met"] else " (missed)"
    return (
        f"{head} {result['ratio']:.3g} | {result['spread']:.2g} | {result['target']:.3g}{mark} | "
        f"{_duration(seconds[0])} | {_duration(seconds[1])} | {memory} |"
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"
