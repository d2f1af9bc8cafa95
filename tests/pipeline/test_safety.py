"""Data and configs are never executed: nothing is unpickled or unpacked, no value of a config reaches a shell."""

import ast
import re
from pathlib import Path

import pytest
from PIL import Image

from pipeline import ROOT, edited, snakemake

SOURCES = sorted([*ROOT.glob("src/**/*.py"), *ROOT.glob("workflow/**/*.py"), *ROOT.glob("benchmarks/**/*.py")])
RULES = [ROOT / "Snakefile", ROOT / "workflow" / "Snakefile", *sorted(ROOT.glob("rules/*.smk"))]
PLACEHOLDER = re.compile(r"(?<!\{)\{(?!\{)[^{}]*\}")

UNPICKLING_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
FORBIDDEN_CALLS = {
    "eval": "runs code",
    "exec": "runs code",
    "os.system": "is a shell",
    "os.popen": "is a shell",
    "subprocess.getoutput": "is a shell",
    "subprocess.getstatusoutput": "is a shell",
    "yaml.load": "builds objects; yaml.safe_load doesn't",
    "yaml.unsafe_load": "builds objects",
    "pd.read_pickle": "unpickles",
    "pandas.read_pickle": "unpickles",
    "shutil.unpack_archive": "unpacks",
}


def faults_of(code: str) -> list[str]:
    """What in Python code could run data or a config's value, as line and reason."""
    faults = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names = {alias.name.partition(".")[0] for alias in node.names}
            faults += [f"{node.lineno}: imports {name}" for name in names & UNPICKLING_MODULES]
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in UNPICKLING_MODULES:
            faults.append(f"{node.lineno}: imports {node.module}")
        if isinstance(node, ast.Call):
            name, given = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
            if name in FORBIDDEN_CALLS:
                faults.append(f"{node.lineno}: {name} {FORBIDDEN_CALLS[name]}")
            if name.endswith(("torch.load", ".load_checkpoint")) and given.get("weights_only") != "True":
                faults.append(f"{node.lineno}: {name} without weights_only=True unpickles")
            if given.get("allow_pickle", "False") != "False":
                faults.append(f"{node.lineno}: {name} with allow_pickle")
            if given.get("shell", "False") != "False":
                faults.append(f"{node.lineno}: {name} with a shell")
            if name.rpartition(".")[2] in ("extract", "extractall"):
                faults.append(f"{node.lineno}: {name} unpacks")
    return faults


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_unpickles_unpacks_or_starts_a_shell(path: Path) -> None:
    assert faults_of(path.read_text()) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=trusted)",
        "subprocess.run(command, shell=True)",
        "os.system(command)",
        "archive.extractall()",
        "yaml.load(text, Loader)",
        "eval(text)",
    ],
)
def test_the_search_finds_what_it_looks_for(code: str) -> None:
    assert len(faults_of(code)) == 1


def unquoted(rule: str) -> list[str]:
    """Placeholders of shell commands that Snakemake would fill in without quoting."""
    commands = re.findall(r"^\s+shell:\n((?:\s+.*[\"'].*\n)+)", rule, re.MULTILINE)
    return [hole for command in commands for hole in PLACEHOLDER.findall(command) if not hole.endswith(":q}")]


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_shell_commands_of_rules_quote_what_they_fill_in(path: Path) -> None:
    assert unquoted(path.read_text()) == []
    assert "shell(" not in path.read_text()


def test_an_unquoted_value_in_a_rule_would_be_found() -> None:
    rule = 'rule a:\n    output:\n        "b"\n    shell:\n        "c {params.path} {output:q}"\n'
    assert unquoted(rule) == ["{params.path}"]


def test_values_of_a_config_are_never_run_by_a_shell(tmp_path: Path) -> None:
    command = 'a\'b "$(touch pwned)" `touch pwned`; touch pwned #'
    for label in ("cat", "$(touch pwned)"):
        (tmp_path / command / label).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (32, 32), (number, 0, 0)).save(tmp_path / command / label / f"{number}; touch pwned.png")
    data = {"source": "image_folder", "path": command, "image_size": 32, "classes": 2, "held_out": 4}
    config = edited(tmp_path, {"data": data, "claims.bottlenecks": {"DiT-Nano/2": command}})
    facts = "results/tiny/data/data.json"
    run = snakemake(tmp_path, "--cores", "1", facts, config=config)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / facts).exists()
    assert not list(tmp_path.rglob("pwned"))
