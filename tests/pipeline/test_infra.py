"""What holds between files that no program compares: pins, profiles."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from pipeline import ROOT, plan, snakemake

PROFILES = ("profiles/default", "slurm")


def profile(name: str) -> dict[str, Any]:
    settings: dict[str, Any] = yaml.safe_load((ROOT / name / "config.yaml").read_text())
    return settings


def test_makefile_pins_a_uv_that_the_project_accepts() -> None:
    pinned = re.search(r"^UV_VERSION := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["required-version"]
    assert pinned
    assert pinned[1] in SpecifierSet(required)


def test_all_that_names_the_version_names_the_same() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    locked = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    assert [package["version"] for package in locked if package["name"] == "dit-scaling"] == [version]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    unreleased, released = re.findall(
        r"^## \[(.+?)\](?: - \d{4}-\d\d-\d\d)?$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )[:2]
    assert (unreleased, released) == ("Unreleased", version)


NAMING = (".pre-commit-config.yaml", "Makefile", "pyproject.toml", "CONTRIBUTING.md")
PATH = re.compile(r"(?<![\w/.*$}-])\.?\w[\w.-]*(?:/[\w.-]+)+\.(?:py|md|json|yaml|csv|smk|rst)\b")


@pytest.mark.parametrize("file", NAMING)
def test_every_file_that_is_named_is_there(file: str) -> None:
    """Of NAME and of results there are none yet."""
    named = [path for path in PATH.findall((ROOT / file).read_text().replace("\\.", ".")) if "NAME" not in path]
    roots = (ROOT, ROOT / "src", ROOT / "src/dit_scaling")
    assert [
        path for path in named if not path.startswith("results/") and not any((root / path).exists() for root in roots)
    ] == []


@pytest.mark.parametrize("folder", ["benchmarks", "workflow/scripts", "workflow", "tests", ".ci"])
def test_no_script_hides_a_module_of_the_standard_library(folder: str) -> None:
    """`python folder/script.py` looks in its folder first: a profile.py there breaks `import torch`."""
    modules = {path.stem for path in (ROOT / folder).glob("*.py")}
    assert modules
    assert not modules & sys.stdlib_module_names


def test_code_and_software_are_no_reason_to_train_again() -> None:
    assert set(profile("profiles/default")["rerun-triggers"]) == {"mtime", "input", "params"}


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_keep_no_halves_and_leave_threads_to_the_rules(name: str) -> None:
    settings = profile(name)
    assert "keep-incomplete" not in settings
    assert "cpus_per_task" not in settings.get("default-resources", {})
    assert "software-deployment-method" not in settings


def test_the_default_profile_overrules_nothing_of_the_one_for_slurm() -> None:
    """Snakemake lets a workflow's own profile win over the one on the command line."""
    assert not profile("profiles/default").keys() & profile("slurm").keys()


def rules() -> dict[str, str]:
    """Each rule of ours and what follows its name."""
    text = "\n".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk")))
    return dict(re.findall(r"^ *rule (\w+):\n(.*?)(?=^ *rule |\Z)", text, re.MULTILINE | re.DOTALL))


def test_every_rule_that_computes_on_a_gpu_has_a_row_for_slurm() -> None:
    """A study submits some of the rules only, so that jobs which ran say nothing of the others."""
    rows, threads = profile("slurm")["set-resources"], profile("slurm")["set-threads"]
    on_gpus = {name for name, body in rules().items() if re.search(r"^ +gpu=", body, re.MULTILINE)}
    assert {"train_milestone", "train_and_measure", "held_out_loss", "gate"} <= on_gpus
    assert rows.keys() == on_gpus
    assert all(row["gpu_model"] == "TYPE" for row in rows.values())
    # Snakemake evaluates what is no number. Of imported latents nothing is computed: tests/pipeline/test_scripts.py.
    encoding = SimpleNamespace(imported=[])
    assert all(eval(str(row["gpu"]), {"input": encoding}) >= 1 for row in rows.values())
    on_ranks = {name for name, body in rules().items() if re.search(r"^ +ranks=", body, re.MULTILINE)}
    assert threads.keys() == on_ranks
    assert all(rows[name] == rows["train_milestone"] for name in on_ranks)


def test_every_rule_that_trains_tells_the_loggers() -> None:
    telling = {name for name, body in rules().items() if re.search(r"^ +loggers=LOGGERS", body, re.MULTILINE)}
    assert telling == {name for name, body in rules().items() if re.search(r"^ +ranks=", body, re.MULTILINE)} | {"gate"}


def test_slurm_profile_plans_the_same_jobs(tmp_path: Path) -> None:
    jobs = plan(tmp_path, "--profile", str(ROOT / "slurm"))
    assert jobs == plan(tmp_path)
    assert len(jobs["train_milestone"]) == 8


def test_an_unfilled_slurm_profile_and_a_machine_without_sbatch_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = snakemake(tmp_path, "--profile", str(ROOT / "slurm"))
    assert run.returncode == 2
    assert "ACCOUNT, PARTITION, TYPE still to be set" in run.stdout + run.stderr
    monkeypatch.setenv("PATH", str(tmp_path))
    text = (ROOT / "slurm" / "config.yaml").read_text()
    for word in ("ACCOUNT", "PARTITION", "TYPE"):
        text = text.replace(word, "mine")
    (tmp_path / "config.yaml").write_text(text)
    run = snakemake(tmp_path, "--profile", str(tmp_path))
    assert run.returncode == 2
    assert "there is no sbatch here" in run.stdout + run.stderr


def test_make_names_the_home_that_it_takes_where_none_can_be_written() -> None:
    for home in ({"HOME": "/"}, {"HOME": "/proc/none"}, {}):
        run = subprocess.run(
            ["make", "-n", "help"], cwd=ROOT, env={"PATH": "/usr/bin:/bin", **home}, capture_output=True, text=True
        )
        assert f"HOME={ROOT}/cache/home" in run.stdout


@pytest.mark.parametrize("home", ["/", "/proc/none"])
def test_a_home_that_cannot_be_written_gives_way_to_a_folder_here(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root every folder can be written but those below /proc; / is taken for no home all the same."""
    monkeypatch.setenv("HOME", home)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    run = snakemake(tmp_path, "--dry-run", "--until", "data")
    assert run.returncode == 0, run.stderr
    assert f"HOME cannot be written: caches go to {tmp_path / 'cache/home'}" in run.stdout + run.stderr
    assert not Path("/.cache/snakemake").exists()


def test_a_tmpdir_with_a_space_is_as_good_as_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "t m p"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    run = snakemake(tmp_path, "--cores", "1", "--until", "data")
    assert run.returncode == 0, run.stderr
    assert "solver" not in run.stdout + run.stderr
    assert (tmp_path / "results/tiny/data/data.json").is_file()
