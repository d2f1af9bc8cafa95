"""The tiny study, run once for all tests of a session, whatever process they run in."""

import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from pipeline import snakemake

TOLD = "told.txt"
"""What the run of the tiny study said at the terminal, in its folder."""


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Working directory of the tiny study, run from images to report. Tests that change files copy it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, done = shared / "tiny-study", shared / "tiny-study-done"
    with FileLock(shared / "tiny-study.lock"):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # what another process failed with
            folder.mkdir()
            run = snakemake(folder, "--cores", "2")
            assert run.returncode == 0, run.stderr
            (folder / TOLD).write_text(run.stdout + run.stderr)
            done.touch()
    return folder


@pytest.fixture
def copied(study: Path, tmp_path: Path) -> Path:
    """The finished study, free to be changed; times and Snakemake's records are kept."""
    return shutil.copytree(study, tmp_path / "copy")


@pytest.fixture(scope="session")
def nothing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory in which nothing has run."""
    return tmp_path_factory.mktemp("nothing")
