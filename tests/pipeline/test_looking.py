"""Looking at the study of somebody else, where nothing can be written, without a home that can be written."""

import os
import shutil
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dit_scaling.results.before_start import LOOKS, before_start, find_cache, folder_to_look_from
from pipeline import ROOT, TINY

COMMAND = ("-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"))
STUDY = ("--configfile", "study.yaml")
Look = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def theirs(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished study, of another user than the one who looks."""
    if os.getuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("only root can become another user")
    folder = shutil.copytree(study, tmp_path_factory.mktemp("theirs") / "study")
    shutil.copy(TINY, folder / "study.yaml")
    return folder


@pytest.fixture
def look(theirs: Path, tmp_path: Path) -> Look:
    """Run a command there as a user without a name, who can read everything and write to a temporary folder."""
    rights = ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
    user = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups", *rights]
    environment = {name: value for name, value in os.environ.items() if name not in ("USER", "LOGNAME")}
    environment |= {"HOME": "/proc/none", "TMPDIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    tmp_path.chmod(0o777)

    def run(*command: str) -> "subprocess.CompletedProcess[str]":
        python = [*user, sys.executable, *command]
        return subprocess.run(python, cwd=theirs, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["-n"], "Nothing to be done"),
        (["--summary"], "results/tiny/report.html\t"),
        (["--report", "report.zip"], "report.zip cannot be written: Permission denied. Name a file elsewhere"),
    ],
)
def test_snakemake_looks_where_it_can_write_nothing(theirs: Path, look: Look, asked: list[str], words: str) -> None:
    before = sorted(theirs.rglob("*"))
    run = look(*COMMAND, *asked, *STUDY)
    assert words in run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    assert sorted(theirs.rglob("*")) == before
