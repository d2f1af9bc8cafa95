"""The table, and the baseline that the next run is compared with."""

import importlib.metadata
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dit_scaling.files import read_json, write_json

BASELINE = Path(__file__).with_name("baseline.json")
LIBRARIES = ("torch", "diffusers", "clean-fid", "torch-fidelity", "webdataset", "snakemake", "numpy", "scipy")

Result = Mapping[str, Any]
"""Of one row: its names, and either figures, or why there are none (``unavailable``, ``disagreement``)."""


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


def describe_cpu(machine: Mapping[str, Any]) -> str:
    """The machine in a line."""
    return f"{machine['cpu']} (family {machine['family']}, model {machine['model']}), {machine['cores']} cores"


def table(results: Sequence[Result]) -> str:
    """Rows for people, in Markdown."""
    lines = [
        "| row | ours beside peer | threads | ratio | spread | target | ours | peer | peak memory, ours / peer |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    return "\n".join([*lines, *map(_line, results)])


def failures(results: Sequence[Result], baseline: Mapping[str, Any]) -> list[str]:
    """Rows that disagree with their peer, and those whose ratio is below its stored value by more than the spread."""
    found = []
    for result in results:
        name, stored = result["name"], baseline.get("rows", {}).get(result["name"])
        if "disagreement" in result:
            found.append(f"{name}: ours and peer disagree: {result['disagreement']}")
        elif "ratio" in result and stored is not None and result["ratio"] < stored["ratio"] - stored["spread"]:
            found.append(
                f"{name}: ratio {result['ratio']:.3g} is below its baseline of {stored['ratio']:.3g} by more than "
                f"the spread of {stored['spread']:.2g}"
            )
    return found


def read_baseline(path: Path = BASELINE) -> Mapping[str, Any]:
    """The stored ratios; empty where nothing is stored yet."""
    baseline: Mapping[str, Any] = read_json(path) if path.exists() else {}
    return baseline


def write_baseline(results: Sequence[Result], machine: Mapping[str, Any], path: Path = BASELINE) -> None:
    """Keep ratios and spreads; rows that were not measured now keep what is stored of them."""
    stored = dict(read_baseline(path).get("rows", {}))
    stored |= {
        result["name"]: {key: round(result[key], 4) for key in ("ratio", "spread")}
        for result in results
        if "ratio" in result
    }
    write_json(path, {"machine": machine, "rows": stored})


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
