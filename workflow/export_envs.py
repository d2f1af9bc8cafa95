"""Write envs/*.yaml, one conda environment per group of rules, with the versions of uv.lock.

Reads the pinned requirements that `uv export` prints; `make envs` and `make lint` call it.
"""

import argparse
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from packaging.markers import Marker
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]

PYTHON = "3.11"

GROUPS = {
    "data": (
        *("filelock", "huggingface-hub", "mlxtend", "numpy", "pillow", "pooch", "psutil", "pyarrow"),
        *("pydantic", "pyyaml", "requests", "tqdm", "webdataset"),
    ),
    "torch": (
        *("clean-fid", "diffusers", "filelock", "matplotlib", "mlxtend", "numpy", "pillow", "psutil", "pyarrow"),
        *("pydantic", "pyyaml", "safetensors", "scipy", "torch", "torchvision", "tqdm", "webdataset"),
    ),
    "report": (
        *("jinja2", "matplotlib", "numpy", "pandas", "pillow", "psutil", "pyarrow", "pydantic", "pyyaml", "scipy"),
        "tqdm",
    ),
}
"""What the scripts of each group of rules import."""

PLATFORMS = (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"), ("win32", "AMD64"))

HEADER = """\
# Written by `make envs` from uv.lock; do not edit.
#
# For `snakemake --software-deployment-method conda`; no profile here asks for it, and `make study` needs no conda.
# The versions are tested to be the lock's, but the environment has not been solved where this was written: the
# conda-forge channel was out of reach.
#
# dit-scaling itself is not listed. Snakemake copies this file elsewhere before it creates the environment, so a
# relative path would not hold; its jobs find the package that the Snakefile imports, because Snakemake appends its
# own search path to theirs. To use the environment by hand: pip install --no-deps -e .
"""


def dependency_graph(lock: dict[str, Any]) -> dict[str, set[str]]:
    """Package, or package[extra], to what it needs on any platform."""
    graph: dict[str, set[str]] = {}
    for package in lock["package"]:
        name = package["name"]
        graph.setdefault(name, set()).update(needs(package.get("dependencies", [])))
        for extra, dependencies in package.get("optional-dependencies", {}).items():
            graph.setdefault(f"{name}[{extra}]", set()).update(needs(dependencies))
    return graph


def needs(dependencies: Iterable[dict[str, Any]]) -> set[str]:
    """Nodes of the graph that a list of dependencies in the lock names."""
    return {
        node
        for dependency in dependencies
        for node in (dependency["name"], *(f"{dependency['name']}[{extra}]" for extra in dependency.get("extra", [])))
    }


def closure(graph: dict[str, set[str]], roots: Iterable[str]) -> set[str]:
    """Names of all packages that ``roots`` need, themselves included."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(graph[node])
    return {node.partition("[")[0] for node in found}


def pin(requirement: Requirement) -> str | None:
    """The requirement as a line for Python 3.11: None if no platform needs it, without marker if all do."""
    if requirement.marker is None:
        return str(requirement)
    answers = {applies(requirement.marker, *platform) for platform in PLATFORMS}
    if answers == {False}:
        return None
    return str(requirement) if False in answers else f"{requirement.name}{requirement.specifier}"


def applies(marker: Marker, platform: str, machine: str) -> bool:
    """Whether a marker holds for CPython 3.11 on a platform."""
    return marker.evaluate(
        {
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
            "platform_machine": machine,
            "python_full_version": f"{PYTHON}.0",
            "python_version": PYTHON,
            "sys_platform": platform,
        }
    )


def environment(group: str, graph: dict[str, set[str]], requirements: list[Requirement]) -> str:
    """The text of one group's conda environment."""
    names = closure(graph, GROUPS[group])
    pins = [line for requirement in requirements if requirement.name in names and (line := pin(requirement))]
    listing = "".join(f"      - {line}\n" for line in pins)
    return f"{HEADER}channels:\n  - conda-forge\ndependencies:\n  - python={PYTHON}\n  - pip\n  - pip:\n{listing}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is out of date")
    check = parser.parse_args().check
    requirements = [Requirement(line) for line in sys.stdin.read().splitlines()]
    if not requirements:
        sys.exit("Nothing to read: uv export failed, or its output was not piped to this command.")
    graph = dependency_graph(tomllib.loads((ROOT / "uv.lock").read_text()))
    stale = []
    for group in GROUPS:
        path, text = ROOT / "envs" / f"{group}.yaml", environment(group, graph, requirements)
        if not check:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(path.name)
    if stale:
        print(f"envs: {', '.join(stale)} differ from uv.lock. Run: make envs", file=sys.stderr)
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())
