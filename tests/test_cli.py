import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dit_scaling.cli import app, main

ROOT = Path(__file__).parent.parent
TABLE_4 = ROOT / "src" / "dit_scaling" / "protocol" / "published" / "dit_table4.csv"


def run(*arguments: object) -> tuple[int, str]:
    """Exit code and output of the installed command."""
    command = [sys.executable, "-c", "from dit_scaling.cli import main; main()", *map(str, arguments)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.returncode, answer.stdout + answer.stderr


@pytest.mark.parametrize("command", ["check", "variants", "claims", "export", "export-samples", "schema"])
def test_help_explains_each_command(command: str) -> None:
    answer = CliRunner().invoke(app, [command, "--help"])
    assert answer.exit_code == 0
    assert command in answer.output
    assert "Usage" in answer.output


def test_check_accepts_the_embedded_study() -> None:
    answer = CliRunner().invoke(app, ["check", str(ROOT / "config" / "config.yaml")])
    assert answer.exit_code == 0
    assert "study 'embedded', 8 training runs of 10000 steps" in answer.output
    assert "Doubtful" not in answer.output


def test_check_asks_for_reasons(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text((ROOT / "config" / "config.yaml").read_text().replace("  warm-up:", "  precision:"))
    answer = CliRunner().invoke(app, ["check", str(path)])
    assert answer.exit_code == 0
    assert "Doubtful: deviations: 'warm-up' deviates from the paper without a reason." in answer.output
    assert "Doubtful: deviations: 'precision' has a reason, but is the paper's." in answer.output


def test_variants_prints_closed_form_counts() -> None:
    answer = CliRunner().invoke(app, ["variants", str(ROOT / "config" / "config.yaml")])
    row = next(line.split() for line in answer.output.splitlines() if line.startswith("DiT-Mini/1"))
    assert row[1:4] == ["4", "64", "64"]
    assert row[4] == "328,836"


def test_claims_on_the_published_table() -> None:
    answer = CliRunner().invoke(app, ["claims", str(TABLE_4), "--json"])
    verdicts = {claim["claim"]: claim["verdict"] for claim in json.loads(answer.output)["claims"]}
    assert verdicts["1"] == verdicts["2"] == "supported"
    assert verdicts["0"] == "not testable"


def test_claims_in_sentences() -> None:
    answer = CliRunner().invoke(app, ["claims", str(TABLE_4)])
    assert "Claim 1: supported." in answer.output
    assert "DiT-L/8 and DiT-B/8" in answer.output.split("Unresolved alone: ")[1].splitlines()[0]
    assert (
        "Exception, equal Gflops: DiT-S/4 (1.41 Gflops, 100.4) is better than DiT-B/8 (1.42 Gflops, 122.7)."
        in answer.output
    )
    assert "Assumed:" in answer.output


def test_schema_check_tells_a_stale_file(tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    assert run("schema", path)[0] == 0
    assert run("schema", path, "--check")[0] == 0
    path.write_text(path.read_text().replace("Study", "Studio"))
    code, output = run("schema", path, "--check")
    assert code == 2
    assert "schema.json" in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "missing.yaml"], ["missing.yaml", "does not exist"]),
        (["claims", "missing.csv"], ["missing.csv"]),
        (["claims", TABLE_4, "--metric", "nothing"], ["nothing"]),
        (["claims", TABLE_4, "--decoded-noise", "-1"], ["decoded_noise"]),
        (["nonsense"], ["nonsense"]),
        (["check"], ["Missing argument", "config"]),
    ],
)
def test_bad_input_is_one_paragraph_and_code_2(arguments: list[object], words: list[str]) -> None:
    code, output = run(*arguments)
    assert code == 2
    assert "Traceback" not in output
    for word in words:
        assert word in output


def test_main_exits_with_2_on_bad_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["dit-scaling", "check", "missing.yaml"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("Error: missing.yaml")
