"""Run this clone's Snakefile on a study in a folder of its own, and read what a dry run plans."""

import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from dit_scaling.common.allocator import KEPT_MEMORY
from warm import STARTUP, WarmPython

ROOT = Path(__file__).parents[2]
TINY = ROOT / ".test" / "config" / "config.yaml"
OFFLINE = ROOT / "tests" / "offline"

Plan = dict[str, set[str]]
"""Rule to the first output of each of its jobs that would run; the gathering rules have none."""

JOB = re.compile(r"^(?:local)?rule (?P<rule>\w+):\n(?P<details>(?:    .*\n)*)", re.MULTILINE)
FIRST_OUTPUT = re.compile(r"^    output: (?P<file>[^,\n]+)", re.MULTILINE)


def snakemake(
    folder: Path, *arguments: str, config: Path | None = TINY, startup: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run snakemake in ``folder`` as from the command line, with ``config`` as --configfile and the network cut.

    ``startup`` is a file that it and each of its jobs run first.
    """
    first = [OFFLINE / "sitecustomize.py", *([startup] if startup else [])]
    environment = {**_environment(), STARTUP: os.pathsep.join(map(str, first))}
    return warm_python().run(["-m", "snakemake", *_arguments(arguments, config)], folder, environment)


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a Python in ``folder`` with these arguments, which has imported everything already."""
    # With these no command starts itself anew for them.
    return warm_python().run(arguments, folder, KEPT_MEMORY | _environment())


@cache
def warm_python() -> WarmPython:
    """The one of this session of tests."""
    return WarmPython()


def start_snakemake(folder: Path, *arguments: str, config: Path | None = TINY) -> "subprocess.Popen[str]":
    """Start what `snakemake` runs in a Python of its own, which can be killed."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", *_arguments(arguments, config)],
        cwd=folder,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
        text=True,
    )


def _arguments(arguments: Sequence[str], config: Path | None) -> list[str]:
    # Last, because --configfile, --until and the like take as many values as follow.
    configured = [] if config is None else ["--configfile", str(config)]
    return ["--snakefile", str(ROOT / "Snakefile"), *arguments, *configured]


def _environment() -> dict[str, str]:
    """Jobs compute on one thread, take this tree's package, and have no network: no stage may need one."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{OFFLINE}{os.pathsep}{ROOT / 'src'}"}


def plan(folder: Path, *arguments: str, config: Path | None = TINY) -> Plan:
    """What a dry run would run, apart from rules that only gather."""
    jobs = defaultdict(set)
    for job in _dry_run(folder, arguments, config):
        if output := FIRST_OUTPUT.search(job["details"]):
            jobs[job["rule"]].add(output["file"])
    return dict(jobs)


def asked(folder: Path, rule: str, resource: str, *arguments: str, config: Path | None = TINY) -> list[int]:
    """How much of a resource each job of a rule asks for that a dry run would run."""
    jobs = [job["details"] for job in _dry_run(folder, arguments, config) if job["rule"] == rule]
    return [int(found[1]) for job in jobs if (found := re.search(rf"^    resources: .*\b{resource}=(\d+)", job, re.M))]


def _dry_run(folder: Path, arguments: Sequence[str], config: Path | None) -> Iterator[re.Match[str]]:
    run = snakemake(folder, "--dry-run", *arguments, config=config)
    assert run.returncode == 0, run.stderr
    return JOB.finditer(run.stdout + run.stderr)


def edited(folder: Path, changes: dict[str, Any], base: Path = TINY) -> Path:
    """A config file in ``folder`` like ``base`` with some keys, written a.b.c, set to other values."""
    config = yaml.safe_load(base.read_text())
    for key, value in changes.items():
        *sections, last = key.split(".")
        section = config
        for name in sections:
            section = section.setdefault(name, {})
        section[last] = value
    path = folder / "edited.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path
