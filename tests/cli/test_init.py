from pathlib import Path

import pytest
from typer.testing import CliRunner

from dit_scaling.cli import app
from dit_scaling.cli.init_command import init
from dit_scaling.common.errors import UserError
from dit_scaling.config import load_study
from pipeline import ROOT, plan


@pytest.mark.dag
def test_init_makes_a_folder_for_any_study(tmp_path: Path) -> None:
    folder = tmp_path / "my study"
    answer = CliRunner().invoke(app, ["init", str(folder)])
    assert answer.exit_code == 0, answer.output
    assert {path.name for path in folder.iterdir()} == {"Snakefile", "config", "profiles", "slurm"}
    assert load_study(folder / "config" / "config.yaml") == load_study(ROOT / "config" / "config.yaml")
    rules = ("--snakefile", str(folder / "Snakefile"))
    for name, config in (("embedded", None), ("shapes", Path("config/shapes.yaml"))):
        facts = f"results/{name}/data/data.json"
        assert plan(folder, *rules, facts, config=config) == {"data": {facts}}


def test_init_leaves_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for taken in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(UserError, match="is there already"):
            init(taken)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    (tmp_path / "empty").mkdir()
    init(tmp_path / "empty")
    assert (tmp_path / "empty" / "Snakefile").is_file()
