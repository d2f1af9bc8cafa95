"""Looking at the study of somebody else, where nothing can be written, without a home that can be written."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dit_scaling.common.errors import UserError
from dit_scaling.results.before_start import folder_to_look_from
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
        pytest.param(["--summary"], "results/tiny/report.html\t", marks=pytest.mark.slow),
        pytest.param(["--report", "{}/report.zip"], "Report created", marks=pytest.mark.slow),
    ],
)
def test_snakemake_looks_where_it_can_write_nothing(
    theirs: Path, look: Look, tmp_path: Path, asked: list[str], words: str
) -> None:
    before = sorted(theirs.rglob("*"))
    run = look(*COMMAND, *(word.format(tmp_path) for word in asked), *STUDY)
    assert words in run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    assert sorted(theirs.rglob("*")) == before
    assert run.returncode == 0
    assert {path.name for path in tmp_path.iterdir()} <= {"report.zip"}


@pytest.fixture
def locked_out(tmp_path: Path) -> Path:
    """A folder in which Snakemake cannot have its own, whoever asks."""
    folder = tmp_path / "a" / "clone"
    folder.mkdir(parents=True)
    (folder / ".snakemake").touch()
    (folder / "results").mkdir()
    (tmp_path / "a" / "images").mkdir()
    return folder


def test_every_relative_path_leads_where_it_did_and_snakemake_has_a_folder(locked_out: Path) -> None:
    place = folder_to_look_from(locked_out, looks=True, report=None)
    assert place is not None
    for path in (".", "results", "../images", "../clone/results", "results/../../images"):
        assert names(place / path) == names(locked_out / path), path
    (place / ".snakemake" / "log").mkdir()


def test_what_makes_something_is_refused_with_what_to_do(locked_out: Path) -> None:
    with pytest.raises(UserError, match="copy it to a folder of yours"):
        folder_to_look_from(locked_out, looks=False, report=None)
    with pytest.raises(UserError, match=r"--report /tmp/mine\.zip"):
        folder_to_look_from(locked_out, looks=True, report=Path("mine.zip"))
    assert folder_to_look_from(locked_out, looks=True, report=Path("/tmp/mine.zip"))


def test_where_there_is_room_nothing_changes(tmp_path: Path) -> None:
    assert folder_to_look_from(tmp_path, looks=False, report=Path("mine.zip")) is None


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
