"""What the start of a stage costs beside importing the libraries that it uses, and how soon `--help` answers.

Each import is a process of its own, with bytecode that is compiled already.
"""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.row import (
    DisagreementError,
    Outcome,
    Row,
    Setting,
    Side,
    at_most_more,
    at_most_seconds,
    nothing_in_common,
)
from dit_scaling import cli

SCRIPTS = Path(__file__).parents[1] / "workflow" / "scripts"
MORE, HELP = 0.5, 0.5  # seconds
COMMANDS = tuple(command.name for command in cli.COMMANDS)

# What a stage cannot do without. Whatever else its own modules import counts as ours.
LIBRARIES = {
    "data": ("numpy", "PIL.Image", "pydantic"),
    "vae": ("torch", "pydantic", "PIL.Image"),
    "encode_shard": ("torch", "pydantic", "PIL.Image", "webdataset"),
    "latents": ("numpy", "pydantic"),
    "preflight": ("torch", "pydantic", "PIL.Image", "webdataset"),
    "train_milestone": ("torch", "pydantic", "psutil", "torch.distributed.elastic"),
    "gate": ("torch", "pydantic", "PIL.Image", "jinja2", "pandas", "matplotlib.figure"),
    "sample_part": ("torch", "pydantic", "PIL.Image", "safetensors.torch"),
    "extractor": ("torch", "pydantic", "PIL.Image", "safetensors.torch"),
    "reference": ("torch", "pydantic", "scipy.linalg", "safetensors.torch"),
    "levels": ("numpy", "pydantic", "scipy.linalg"),
    "extract_features": ("torch", "pydantic", "safetensors.torch"),
    "score_samples": ("numpy", "pydantic", "scipy.linalg"),
    "memorisation": ("torch", "pydantic", "PIL.Image"),
    "aggregate": ("pandas", "pyarrow", "pydantic", "scipy.stats"),
    "figures": ("pandas", "pyarrow", "matplotlib.figure", "scipy.stats"),
    "report": ("pandas", "pyarrow", "jinja2", "matplotlib.figure", "scipy.stats"),
}


def imports_of(stage: str) -> list[str]:
    """The modules of ours that a stage's script imports."""
    text = (SCRIPTS / f"{stage}.py").read_text()
    names = re.findall(r"^from (\S+) import", text, re.MULTILINE)
    return [name for name in names if name.startswith("dit_scaling")]


def importing(modules: Sequence[str]) -> Side:
    """A Python that imports modules and ends."""
    return Side(lambda: _seconds([sys.executable, "-c", f"import {', '.join(modules)}"]), dict)


def import_row(stage: str) -> Row:
    """The start of one stage's script."""

    def make_ours(_setting: Setting) -> Side:
        return importing(imports_of(stage))

    def make_peer(_setting: Setting) -> Side:
        return importing(LIBRARIES[stage])

    return Row(
        name=f"startup-{stage.replace('_', '-')}",
        what=f"importing what stage {stage} imports; at most {MORE} s more than its libraries",
        peer=f"importing {', '.join(LIBRARIES[stage])}",
        make_ours=make_ours,
        make_peer=make_peer,
        agree=nothing_in_common,
        target=at_most_more(MORE),
        threads=1,
    )


def slowest_help(_setting: Setting) -> Side:
    """The command whose --help takes longest."""
    answers: list[str] = []

    def seconds() -> float:
        return max(_help_of(command, answers) for command in COMMANDS)

    return Side(seconds, lambda: {"commands that answered": len(set(answers))})


def empty_program(_setting: Setting) -> Side:
    """A Python that does nothing."""
    return Side(lambda: _seconds([sys.executable, "-c", "pass"]), lambda: {"commands that answered": len(COMMANDS)})


def agree(ours: Outcome, peer: Outcome) -> str:
    """Every command explains itself."""
    if dict(ours) != dict(peer):
        raise DisagreementError("not every command answers to --help")
    return "every command answered"


def _help_of(command: str, answers: list[str]) -> float:
    line = [sys.executable, "-c", "from dit_scaling.cli import main; main()", command, "--help"]
    return _seconds(line, answers.append)


def _seconds(command: Sequence[str], told: Callable[[str], object] = len) -> float:
    started = time.perf_counter()
    told(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    return time.perf_counter() - started


ROWS = (
    *(import_row(stage) for stage in LIBRARIES),
    Row(
        name="startup-help",
        what=f"--help of the slowest of {len(COMMANDS)} commands; at most {HELP} s",
        peer="a Python that does nothing",
        make_ours=slowest_help,
        make_peer=empty_program,
        agree=agree,
        target=at_most_seconds(HELP),
        threads=1,
    ),
)
