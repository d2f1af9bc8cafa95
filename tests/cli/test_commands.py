import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dit_scaling.cli import COMMANDS, app, commands, main
from dit_scaling.common.errors import UserError
from dit_scaling.config import Stages, load_study

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "config" / "config.yaml"
TABLE_4 = ROOT / "src" / "dit_scaling" / "paper" / "published" / "dit_table4.csv"


Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Exit code and output of the installed command, from its entry point on."""

    def run_main(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["dit-scaling", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        answer = capsys.readouterr()
        return int(ended.value.code or 0), answer.out + answer.err

    return run_main


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_help_explains_each_command(command: str) -> None:
    answer = CliRunner().invoke(app, [command, "--help"])
    assert answer.exit_code == 0
    assert "Usage" in answer.output
    assert f" {command} " in answer.output


def test_it_runs_as_a_module() -> None:
    answers = [
        subprocess.run([sys.executable, *program, "--help"], capture_output=True, text=True, check=True).stdout
        for program in (["-m", "dit_scaling.cli"], ["-c", "from dit_scaling.cli import main; main()"])
    ]
    wrong = subprocess.run([sys.executable, "-m", "dit_scaling.cli", "nonsense"], capture_output=True, check=False)
    assert wrong.returncode == 2
    listed = [re.findall(r"^\W*([a-z-]+) {2,}", answer.split("Commands")[1], re.MULTILINE) for answer in answers]
    assert listed == [[command.name for command in COMMANDS]] * 2


def test_check_accepts_the_embedded_study() -> None:
    answer = CliRunner().invoke(app, ["check", str(ROOT / "config" / "config.yaml")])
    assert answer.exit_code == 0
    assert "study 'embedded', 8 training runs of 10,000 steps" in answer.output
    assert "Doubtful" not in answer.output


def test_check_counts_given_weights_as_no_training_runs(tmp_path: Path) -> None:
    config = [str(ROOT / "config" / "config.yaml"), str(tmp_path / "given.yaml")]
    weights = tmp_path / "given.safetensors"
    weights.touch()
    given = [f'DiT-{size}/2: "{weights}"' for size in ("Nano", "Micro")]
    for number, told in (
        (1, "1 training run of 10,000 steps and 1 variant with given weights"),
        (2, "2 variants with"),
    ):
        Path(config[1]).write_text(
            f"variants: [DiT-Nano/2, DiT-Micro/2]\ncheckpoints: {{ {', '.join(given[:number])} }}\n"
        )
        answer = CliRunner().invoke(app, ["check", *config])
        assert answer.exit_code == 0, answer.output
        assert f"study 'embedded', {told}" in answer.output


def test_check_asks_for_reasons(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text((ROOT / "config" / "config.yaml").read_text().replace("  warm-up:", "  precision:"))
    answer = CliRunner().invoke(app, ["check", str(path)])
    assert answer.exit_code == 0
    assert "Doubtful: deviations: 'warm-up' deviates from the paper without a reason." in answer.output
    assert "Doubtful: deviations: 'precision' has a reason, but the paper's is not known." in answer.output


def test_variants_prints_closed_form_counts() -> None:
    answer = CliRunner().invoke(app, ["variants", str(ROOT / "config" / "config.yaml")])
    row = next(line.split() for line in answer.output.splitlines() if line.startswith("DiT-Mini/1"))
    assert row[1:4] == ["4", "64", "64"]
    assert row[4] == "328,836"


def overlaid(folder: Path, text: str) -> list[str]:
    """The embedded study's config file, and one to lay over it."""
    overlay = folder / "overlay.yaml"
    overlay.write_text(text)
    return [str(ROOT / "config" / "config.yaml"), str(overlay)]


def test_several_config_files_are_one_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "study: other\nvariants: [DiT-Mini/2]\ntraining: {steps: 5000}\nkeep: {states: false}\n"
    files = overlaid(tmp_path, text)
    monkeypatch.chdir(tmp_path)
    answers = {
        command: CliRunner().invoke(app, [command, *files, *options])
        for command, *options in (
            *(("check",), ("prefetch",), ("variants",), ("status",), ("clean",)),
            ("plan", "--device", "h200"),  # measuring this machine takes seconds
        )
    }
    assert all(answer.exit_code == 0 for answer in answers.values()), answers
    told = {command: answer.output for command, answer in answers.items()}
    assert f"{files[0]}, {files[1]}: study 'other', 1 training run of 5,000 steps" in told["check"]
    assert [line.split()[0] for line in told["variants"].splitlines()] == ["variant", "DiT-Mini/2"]
    assert "Study other in results/other" in told["status"]
    assert "DiT-Mini/2" in told["plan"]
    assert "DiT-Micro" not in told["plan"]
    assert f"results/other. What may go is set under `keep` in {files[0]}, {files[1]}." in told["clean"]


def test_without_a_config_file_it_is_the_embedded_study(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    told = {command: CliRunner().invoke(app, [command]).output for command in ("variants", "check", "clean")}
    assert told["variants"] == CliRunner().invoke(app, ["variants", "config/config.yaml"]).output
    assert "config/config.yaml: study 'embedded'" in told["check"]
    assert "results/embedded" in told["clean"]


def test_snakemakes_word_may_stand_before_config_files(tmp_path: Path) -> None:
    files = overlaid(tmp_path, "variants: [DiT-Mini/2]\n")
    spellings = (files, ["--configfile", *files], [f"--configfile={files[0]}", "--configfile", files[1]])
    told = [CliRunner().invoke(app, ["variants", *words]).output for words in spellings]
    assert "DiT-Mini/2" in told[0]
    assert told == [told[0]] * 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("training: {stepss: 5}", "line 1: training.stepss: unknown key, got 5. Did you mean 'steps'?"),
        ("data:\n  sorce: x", "line 2: data.mnist.sorce: unknown key, got 'x'. Did you mean 'source'?"),
        ("data: {source: mnits}", "line 1: data.source: one of 'mnist', "),
        ("variants:\n- DiT-Mini-2", "line 2: variants.0: write DiT-SIZE/PATCH or UNet-SIZE, got 'DiT-Mini-2'."),
        ("variants: [DiT-Mini-2]", "Did you mean 'DiT-Mini/2'?"),
        ("variants: [DiT-Mimi/2]", "Did you mean 'Mini'?"),
        ("resources: {device: Cdua}", "line 1: resources.device: Input should be "),
        ("resources: {device: Cdua}", "got 'Cdua'. Did you mean 'cuda'?"),
        ("deviations: {batch_size: x}", "Did you mean 'batch size'?"),
        ("training: {learning_rate: 1e-4}", "got '1e-4' (YAML reads 1e-4 as text; write 1.0e-4)"),
    ],
)
def test_a_misspelt_word_of_a_config_is_guessed(tmp_path: Path, text: str, words: str) -> None:
    answer = CliRunner().invoke(app, ["check", *overlaid(tmp_path, text)])
    assert isinstance(answer.exception, UserError)
    assert words in str(answer.exception)


def test_a_word_is_no_number_written_otherwise(tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["check", *overlaid(tmp_path, "training: {learning_rate: fast}")])
    assert "got 'fast'" in str(answer.exception)
    assert "1e-4" not in str(answer.exception)


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["chek"], "'check'"),
        (["plan", "--device", "h2000"], "'h200'"),
        (["bench", "DiT-XLL/2"], "'XL'"),
        (["bench", "--device", "cdua"], "'cuda'"),
    ],
)
def test_a_misspelt_word_of_a_command_is_guessed(words: list[str], meant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    answer = CliRunner().invoke(app, words)
    assert answer.exit_code != 0
    assert f"Did you mean {meant}" in answer.output + str(answer.exception)


def folder_study(folder: Path, count: str = "") -> list[str]:
    """The embedded study of images that are not there."""
    data = f"data: {{source: image_folder, path: {folder}/none, image_size: 32, classes: 10, held_out: 50{count}}}"
    text = (ROOT / "config" / "config.yaml").read_text()
    base = folder / "base.yaml"
    base.write_text(re.sub(r"^data:.*?(?=^\S)", f"{data}\n", text, flags=re.MULTILINE | re.DOTALL))
    return [str(base)]


def test_check_without_the_images_checks_the_rest(tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["check", *folder_study(tmp_path)])
    assert "Doubtful: data.held_out: 50 images are fewer" in answer.output
    assert "8 training runs of 10,000 steps. Everything but the images was checked; docs/imagenet.md" in answer.output
    assert "No errors" not in answer.output
    assert "base.yaml, line " in str(answer.exception)
    assert f": data.path: {tmp_path}/none" in str(answer.exception)


def test_plan_prices_images_that_are_not_there_by_their_count(tmp_path: Path) -> None:
    told = [
        CliRunner().invoke(app, ["plan", *folder_study(tmp_path, count), "--utilisation", "0.4", "--json"])
        for count in ("", ", count: 5000", ", count: 9000")
    ]
    assert "data.count" in str(told[0].exception)
    plans = [json.loads(answer.output) for answer in told[1:]]
    assert [plan["images"] for plan in plans] == [5000, 9000]
    hours = [{row["stage"]: row["device_hours"] for row in plan["stages"]} for plan in plans]
    assert hours[1]["latents"] == pytest.approx(9000 / 5000 * hours[0]["latents"])
    assert hours[1]["train"] == hours[0]["train"]


def test_the_count_of_images_is_no_setting_of_a_stage(tmp_path: Path) -> None:
    stages = [Stages(load_study(Path(folder_study(tmp_path, count)[0])), "images") for count in ("", ", count: 5000")]
    assert stages[0].data().canonical() == stages[1].data().canonical()


@pytest.mark.parametrize("command", ["variants", "plan", "status", "clean"])
def test_tables_are_json_too(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--utilisation", "0.4"] if command == "plan" else []
    answer = CliRunner().invoke(app, [command, str(ROOT / "config" / "config.yaml"), *words, "--json"])
    assert answer.exit_code == 0, answer.exception
    told = json.loads(answer.output)
    rows = told if command == "variants" else told.get("variants") or told.get("runs") or told["heaps"]
    assert [row["variant"] for row in rows] == ([] if command == "clean" else list(load_study(CONFIG).variants))


def test_version_is_that_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert CliRunner().invoke(app, ["--version"]).output.split() == ["dit-scaling", project["version"]]


def test_a_shell_completes_commands() -> None:
    asked = {"_DIT_SCALING_COMPLETE": "complete_bash", "COMP_WORDS": "dit-scaling ex", "COMP_CWORD": "1"}
    answer = CliRunner().invoke(app, [], env=asked, prog_name="dit-scaling")
    assert answer.output.split() == ["export", "export-samples"]


@pytest.mark.parametrize(("terminal", "no_colour", "red"), [(True, "", True), (True, "1", False), (False, "", False)])
def test_errors_are_red_on_a_terminal_only(
    terminal: bool, no_colour: str, red: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["dit-scaling", "check", "missing.yaml"])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.setenv("NO_COLOR", no_colour)
    monkeypatch.setenv("TERM", "xterm")
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err.startswith("\x1b[31mError:\x1b[0m missing" if red else "Error: missing")


def test_prefetch_fetches_for_the_study_of_all_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = overlaid(tmp_path, "checkpoints: {DiT-Mini/2: DiT-XL-2-256x256.pt}\n")
    fetched = []
    monkeypatch.setattr("dit_scaling.data.fetch.fetch", lambda asset, cache: fetched.append(asset.name) or cache)
    answer = CliRunner().invoke(app, ["prefetch", *files])
    assert answer.exit_code == 0, answer.output
    assert fetched == ["DiT-XL-2-256x256.pt"]


def test_a_config_that_is_named_is_a_study_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, overlay = overlaid(tmp_path, "study: other\n")
    monkeypatch.chdir(ROOT)
    for command in ("status", "clean"):
        answer = CliRunner().invoke(app, [command, overlay])
        assert isinstance(answer.exception, UserError)
        assert str(answer.exception).startswith(f"{overlay}: data: required, but not given")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("study: x\ntraining: {steps: -1}", "{overlay}, line 2: training.steps: "),
        ("variants: [DiT-Nano/3]", "{overlay}, line 1: variants: DiT-Nano/3: "),
        ("- a list", "{overlay} holds no mapping"),
        ("a: [", "{overlay} is not valid YAML"),
        (None, "{overlay} does not exist"),
    ],
)
def test_errors_name_the_config_files(tmp_path: Path, text: str | None, words: str) -> None:
    files = overlaid(tmp_path, text or "")
    if text is None:
        Path(files[1]).unlink()
    answer = CliRunner().invoke(app, ["check", *files])
    assert isinstance(answer.exception, UserError)
    assert words.format(overlay=files[1]) in str(answer.exception)


@pytest.mark.parametrize("name", ["embedded-confirm", "embedded-guidance"])
def test_the_overlays_that_are_shipped_are_studies_on_the_embedded_one(name: str) -> None:
    files = [str(ROOT / "config" / f"{file}.yaml") for file in ("config", name)]
    answer = CliRunner().invoke(app, ["check", *files])
    assert answer.exit_code == 0, answer.exception


def test_claims_on_the_published_table() -> None:
    answer = CliRunner().invoke(app, ["claims", str(TABLE_4), "--json"])
    claims = {claim["claim"]: claim for claim in json.loads(answer.output)["claims"]}
    assert claims["1"]["verdict"] == claims["2"]["verdict"] == "inconclusive"
    assert claims["1"]["would_be"] == claims["2"]["would_be"] == "supported"
    assert claims["0"]["verdict"] == "not testable"


def test_claims_in_sentences() -> None:
    answer = CliRunner().invoke(app, ["claims", str(TABLE_4)])
    assert (
        "Claim 1 (size): inconclusive. Larger models had a 24% lower distance on average (95% CI 20 to 28%). "
        "Would be supported on the condition below." in answer.output
    )
    assert "The condition: runs scatter as published reproductions do" in answer.output
    assert "Not tested: Claim 0 (transformer): " in answer.output
    assert "L/8 and B/8" in answer.output.split("Within noise: ")[1].splitlines()[0]
    assert "Exception, equal Gflops: S/4 (1.41 Gflops, 100.4) is better than B/8 (1.42 Gflops, 122.7)." in answer.output
    assert "Assumed:" in answer.output


def test_schema_check_tells_a_stale_file(run: Run, tmp_path: Path) -> None:
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
        (["claims"], ["a table of metrics, or --published"]),
        (
            ["claims", "--published", "all", "--metric", "fid50k"],
            ["leave the options of a table out"],
        ),
        (["claims", TABLE_4, "--decoded-noise", "-1"], ["decoded_noise"]),
        (["nonsense"], ["nonsense"]),
    ],
)
def test_bad_input_is_one_paragraph_and_code_2(run: Run, arguments: list[object], words: list[str]) -> None:
    code, output = run(*arguments)
    assert code == 2
    assert "Traceback" not in output
    for word in words:
        assert word in output


def test_plan_is_of_one_device_or_more() -> None:
    answer = CliRunner().invoke(app, ["plan", "--device", "a100", "--devices", "0"])
    assert answer.exit_code == 2
    assert "devices" in answer.output
    assert "than or equal to 1" in answer.output


def test_main_exits_with_2_on_bad_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["dit-scaling", "check", "missing.yaml"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("Error: missing.yaml")


@pytest.mark.parametrize(("command", "kept"), [("bench", True), ("plan", True), ("check", False)])
def test_what_times_training_keeps_freed_memory(command: str, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(commands, "keep_freed_memory", lambda: asked.append(command))
    monkeypatch.setattr(sys, "argv", ["dit-scaling", command, "--help"])
    with pytest.raises(SystemExit):
        main()
    assert bool(asked) is kept
