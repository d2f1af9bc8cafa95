"""The rules as a module of another Snakefile: of this clone, of a deployment by snakedeploy, of an installed wheel."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from dit_scaling.report.captions import FIGURES
from pipeline import ROOT, TINY, plan, snakemake

FACTS = "results/tiny/data/data.json"
RULES = f"""
configfile: "config/config.yaml"


module study:
    snakefile:
        "{ROOT}/workflow/Snakefile"
    config:
        config


use rule * from study
"""


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder with a config and a Snakefile that takes this clone's rules."""
    folder = tmp_path / "elsewhere"
    shutil.copytree(TINY.parent, folder / "config")
    (folder / "Snakefile").write_text(RULES)
    return folder


def rules(folder: Path) -> tuple[str, str]:
    return "--snakefile", str(folder / "Snakefile")


def test_the_snakefile_in_workflow_is_the_one_at_the_top(nothing: Path) -> None:
    assert plan(nothing, "--snakefile", str(ROOT / "workflow" / "Snakefile")) == plan(nothing)


def test_a_module_plans_what_the_clone_plans(elsewhere: Path) -> None:
    assert plan(elsewhere, *rules(elsewhere), config=None) == plan(elsewhere)


def test_a_module_may_be_handed_a_config_of_no_file(elsewhere: Path) -> None:
    (elsewhere / "config" / "config.yaml").rename(elsewhere / "mine.yaml")
    reading = 'import yaml\nfrom pathlib import Path\nconfig = yaml.safe_load(Path("mine.yaml").read_text())\n'
    (elsewhere / "Snakefile").write_text(RULES.replace('configfile: "config/config.yaml"', reading))
    assert plan(elsewhere, *rules(elsewhere), FACTS, config=None) == {"data": {FACTS}}


def test_a_config_laid_over_that_of_the_snakefile_is_said(elsewhere: Path) -> None:
    run = snakemake(elsewhere, *rules(elsewhere), FACTS, "--dry-run")
    assert run.returncode == 0, run.stderr
    assert f"What {TINY} leaves out is that of config/config.yaml" in " ".join((run.stdout + run.stderr).split())


@pytest.mark.parametrize(
    "own", ["", pytest.param("\nonstart:\n    print('mine')\n    study.onstart()\n", marks=pytest.mark.slow)]
)
def test_a_module_withdraws_verdicts_of_other_settings(study: Path, elsewhere: Path, own: str) -> None:
    """Snakemake itself runs no handlers of a module."""
    results = Path(shutil.copytree(study / "results", elsewhere / "results"), "tiny")
    config = elsewhere / "config" / "config.yaml"
    config.write_text(config.read_text().replace("kid_subset_size: 20", "kid_subset_size: 21"))
    (elsewhere / "Snakefile").write_text(RULES + own)
    run = snakemake(elsewhere, *rules(elsewhere), "--cores", "1", FACTS, "--forcerun", "data", config=None)
    assert run.returncode == 0, run.stderr
    assert "Verdicts and report in results/tiny are of other settings than now" in run.stderr
    assert not (results / "claims.json").exists()
    assert ("mine" in run.stdout) == bool(own)


def working_tree(folder: Path) -> Path:
    """A repository with one commit, tagged v0: this tree's files, committed or not."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    author = ["-c", "user.name=test", "-c", "user.email=test"]
    for command in (["init", "-q"], ["add", "-A"], [*author, "commit", "-qm", "all"], ["tag", "v0"]):
        subprocess.run(["git", *command], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info >= (3, 13), reason="snakedeploy takes Python 3.11 and 3.12")
def test_snakedeploy_deploys_it_from_a_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As from GitHub, whose address git turns into a folder: each source file is then one that Snakemake fetches."""
    working_tree(tmp_path / "github.com" / "owner" / "dit-scaling")
    configured = tmp_path / "gitconfig"
    configured.write_text(f'[url "file://{tmp_path}/github.com/"]\n    insteadOf = https://github.com/\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(configured))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    deployed = tmp_path / "deployed"
    program = Path(sys.executable).with_name("snakedeploy")
    command = [str(program), "deploy-workflow", "https://github.com/owner/dit-scaling", str(deployed), "--tag", "v0"]
    deploy = subprocess.run(command, capture_output=True, text=True, check=False)
    assert deploy.returncode == 0, deploy.stderr
    assert (
        'github("owner/dit-scaling", path="workflow/Snakefile", tag="v0")'
        in (deployed / "workflow" / "Snakefile").read_text()
    )
    shutil.copy(TINY, deployed / "config" / "config.yaml")
    own = ("--snakefile", str(deployed / "workflow" / "Snakefile"))
    assert plan(deployed, *own, config=None) == plan(deployed)
    run = snakemake(deployed, *own, "--cores", "1", FACTS, config=None)
    assert run.returncode == 0, run.stderr
    assert (deployed / FACTS).exists()


@pytest.mark.slow
def test_an_installed_wheel_makes_a_folder_that_runs(tmp_path: Path) -> None:
    """Our package is the wheel's. The others are this environment's, by a .pth: installing them takes gigabytes."""
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path)], cwd=ROOT, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "-q", "--no-index", "--no-deps", str(wheel)], check=True)
    (packages,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))

    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    folder = tmp_path / "my-study"

    def run(*command: str) -> str:
        answer = subprocess.run(
            [str(tmp_path / "venv" / "bin" / command[0]), *command[1:]],
            cwd=folder if folder.exists() else tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert answer.returncode == 0, answer.stderr
        return answer.stdout + answer.stderr

    run("dit-scaling", "init", str(folder))
    installed = Path(run("python", "-c", "import dit_scaling; print(dit_scaling.__file__)").strip()).parent
    assert installed == packages / "dit_scaling"
    assert (installed / "py.typed").exists()
    pipeline = installed / "pipeline"
    for name in ("rules", "envs", "workflow", "config", "profiles", "slurm"):
        tracked = subprocess.run(["git", "ls-files", name], cwd=ROOT, capture_output=True, text=True, check=True)
        assert [file for file in tracked.stdout.split() if not (pipeline / file).is_file()] == []
    for caption in FIGURES.values():
        assert (pipeline / "rules" / f"../src/dit_scaling/report/texts/{caption.name}.rst").is_file()

    planned = run("python", "-m", "snakemake", "--cores", "2", "--dry-run")
    assert "results/embedded/report.html" in planned
    run("python", "-m", "snakemake", "--cores", "2", "results/embedded/data/data.json")
    assert (folder / "results" / "embedded" / "data" / "data.json").exists()
