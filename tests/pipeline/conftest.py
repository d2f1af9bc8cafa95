"""The tiny study, run once for all tests of a session, whatever process they run in."""

import shutil
from pathlib import Path

import pytest

from pipeline import snakemake
from shared import made_once

TOLD = "told.txt"
"""What the run of the tiny study said at the terminal, in its folder."""


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Working directory of the tiny study, run from images to report. Tests that change files copy it."""

    def make(folder: Path) -> None:
        run = snakemake(folder, "--cores", "2")
        assert run.returncode == 0, run.stderr
        (folder / TOLD).write_text(run.stdout + run.stderr)

    return made_once(tmp_path_factory, "tiny-study", make)


@pytest.fixture
def copied(study: Path, tmp_path: Path) -> Path:
    """The finished study, free to be changed; times and Snakemake's records are kept."""
    return shutil.copytree(study, tmp_path / "copy")


@pytest.fixture(scope="session")
def nothing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory in which nothing has run."""
    return tmp_path_factory.mktemp("nothing")
