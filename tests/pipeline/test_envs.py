"""The conda environments hold the versions of uv.lock, and all that the scripts using them import."""

import ast
import re
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pipeline import ROOT

SCRIPTS = ROOT / "workflow" / "scripts"
GROUPS = ("data", "torch", "report")
# What the environments are for: CPython 3.11 on a Linux cluster.
LINUX = {
    "implementation_name": "cpython",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.11.9",
    "python_version": "3.11",
    "sys_platform": "linux",
}
RULE = re.compile(r"^rule (\w+):\n((?:    .*\n|\n)*)", re.MULTILINE)


@cache
def pins(group: str) -> dict[str, str]:
    """Package to version, as pip reads the environment there."""
    environment = yaml.safe_load((ROOT / "envs" / f"{group}.yaml").read_text())
    assert environment["channels"] == ["conda-forge"]
    python, pip, section = environment["dependencies"]
    assert (python, pip) == ("python=3.11", "pip")
    requirements = [Requirement(line) for line in section["pip"]]
    return {
        requirement.name: str(requirement.specifier).removeprefix("==")
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate(LINUX)
    }


def on_linux(markers: list[str]) -> bool:
    """Whether one of the markers holds there; no marker always does."""
    return not markers or any(Marker(marker).evaluate(LINUX) for marker in markers)


@pytest.fixture(scope="module")
def locked() -> dict[str, dict[str, Any]]:
    """Package to its entry in uv.lock for that platform."""
    packages = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    return {package["name"]: package for package in packages if on_linux(package.get("resolution-markers", []))}


def scripts(group: str) -> list[Path]:
    """The scripts of the rules that name the group's environment."""
    text = "\n".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk")))
    return [
        SCRIPTS / Path(script[1]).name
        for _, body in RULE.findall(text)
        if f'"../envs/{group}.yaml"' in body and (script := re.search(r'"\.\./(workflow/scripts/\w+\.py)"', body))
    ]


@cache
def imports(file: Path) -> tuple[set[str], set[str]]:
    """Modules that a file imports at once, and in functions; names imported from a package count as modules."""
    at_once: set[str] = set()
    in_functions: set[str] = set()
    waiting: list[tuple[ast.AST, set[str]]] = [(ast.parse(file.read_text()), at_once)]
    while waiting:
        node, found = waiting.pop()
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        within = in_functions if isinstance(node, ast.FunctionDef) else found
        waiting.extend((child, within) for child in ast.iter_child_nodes(node))
    return at_once, in_functions


def files_of(module: str) -> list[Path]:
    """Files of ours that run when ``module`` is imported; none of other packages."""
    top, *rest = module.split(".")
    if top == "_job":
        return [SCRIPTS / "_job.py"]
    folders = [ROOT.joinpath("src", top, *rest[:depth]) for depth in range(len(rest) + 1)]
    paths = [path for folder in folders for path in (folder / "__init__.py", folder.with_suffix(".py"))]
    return [path for path in paths if top == "dit_scaling" and path.is_file()]


def needed_packages(files: Sequence[Path], wanted: Callable[[str], bool]) -> set[str]:
    """Top-level packages that files import, themselves or through dit_scaling; in functions only what is wanted."""
    found, waiting, seen = set(), [*files], set()
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        at_once, in_functions = imports(file)
        for module in at_once | set(filter(wanted, in_functions)):
            found.add(module.partition(".")[0])
            waiting.extend(files_of(module))
    return found - {"dit_scaling"} - set(sys.stdlib_module_names)


@cache
def loads_torch(module: str) -> bool:
    return "torch" in {module.partition(".")[0], *needed_packages(files_of(module), lambda _: False)}


@pytest.mark.parametrize("group", GROUPS)
def test_versions_are_the_locks(group: str, locked: dict[str, dict[str, Any]]) -> None:
    versions = pins(group)
    assert versions == {name: locked[name]["version"] for name in versions}


@pytest.mark.parametrize("group", GROUPS)
def test_nothing_is_left_for_pip_to_choose(group: str, locked: dict[str, dict[str, Any]]) -> None:
    versions = pins(group)
    for name in versions:
        for dependency in locked[name].get("dependencies", []):
            marker = dependency.get("marker")
            assert dependency["name"] in versions or not on_linux([marker] if marker else []), (name, dependency)


@pytest.mark.parametrize("group", GROUPS)
def test_scripts_find_what_they_import(group: str) -> None:
    found = scripts(group)
    assert found
    distributions = packages_distributions()
    # In functions torch is imported so that what calls no such function does without it.
    computes = "torch" in pins(group)
    for script in found:
        # Snakemake's own search path supplies the scripts' helpers and snakemake.
        packages = needed_packages([script], lambda module: computes or not loads_torch(module))
        packages -= {"_job", "_mock", "snakemake"}
        missing = {package for package in packages if not pins(group).keys() & provided_by(package, distributions)}
        assert not missing, script.name


def provided_by(package: str, distributions: Mapping[str, list[str]]) -> set[str]:
    return {canonicalize_name(distribution) for distribution in distributions[package]}
