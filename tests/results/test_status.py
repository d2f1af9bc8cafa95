"""The status of a study is read from its files: each state from the files that make it, and without torch."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dit_scaling.cli import app
from dit_scaling.common.files import write_json
from dit_scaling.common.holder import Holder
from dit_scaling.config import parse_study
from dit_scaling.config.stages import Stages
from dit_scaling.config.study import Study
from dit_scaling.data.assets import open_stages
from dit_scaling.metrics.catalogue import metric_keys
from dit_scaling.results.job_records import JobRecord
from dit_scaling.results.status import Run, read_status
from dit_scaling.results.status_text import describe_status, status_json
from dit_scaling.training.lock import locked
from pipeline import TINY
from report_study import CONFIG

NOW = 2_000_000_000.0
SLUG = "DiT-Nano-2"


@pytest.fixture(scope="module")
def study() -> Study:
    return parse_study(CONFIG | {"variants": ["DiT-Nano/2", "DiT-Mini/1"]})


@pytest.fixture(scope="module")
def stages(study: Study) -> Stages:
    return Stages(study, "0" * 16)


def first_run(study: Study, stages: Stages, results: Path) -> Run:
    return read_status(study, stages, results, NOW).runs[0]


def write_old(path: Path, text: str, age: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (NOW - age, NOW - age))


def write_training(results: Path, stages: Stages, *, last: int, rate: float, age: float) -> Path:
    """A state folder whose log has a line every 50 steps up to ``last``; its files are ``age`` seconds old."""
    write_json(results / "latents" / "manifest.json", {"content": "toy"})
    folder = results / "states" / "abc"
    facts = {"settings": stages.train(SLUG, 0).model_dump(mode="json"), "latents": "toy"}
    write_old(folder / "settings.json", json.dumps(facts), age)
    lines = [{"step": step, "loss": 1 / step, "seconds": step / rate} for step in range(50, last + 1, 50)]
    write_old(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines), age)
    return folder


def write_record(path: Path, digest: str) -> None:
    write_json(path, {"settings_digest": digest})


def write_results(results: Path, study: Study, stages: Stages, *, sampled: bool, extracted: bool, scored: bool) -> None:
    """Everything that training of the first variant leaves, and what follows it where asked for."""
    for step in study.training.exports:
        place = results / SLUG / "seed-0" / f"step-{step}"
        write_record(place / "provenance.json", stages.train(SLUG, 0).digest)
        for scale in study.sampling.guidance_scales:
            folder = place / study.sampling.folder(scale)
            if sampled:
                digest = stages.sample(SLUG, 0, step, scale).digest
                write_record(folder / "samples" / "part-00000.provenance.json", digest)
            if extracted:
                digest = stages.features(SLUG, 0, step, scale, "classifier").digest
                write_record(folder / "features" / "classifier" / "provenance.json", digest)
            if scored:
                write_record(folder / "provenance.json", stages.score(SLUG, 0, step, scale, metric_keys()).digest)


def test_nothing_there_is_waiting(study: Study, stages: Stages, tmp_path: Path) -> None:
    status = read_status(study, stages, tmp_path, NOW)
    assert [(run.variant, run.state, run.step) for run in status.runs] == [
        ("DiT-Nano/2", "waiting", 0),
        ("DiT-Mini/1", "waiting", 0),
    ]
    assert not any(status.shared.values())
    assert not status.reported


def test_a_training_whose_process_lives_runs_with_its_rate_and_time_left(
    study: Study, stages: Stages, tmp_path: Path
) -> None:
    folder = write_training(tmp_path, stages, last=2000, rate=20.0, age=3600.0)
    with locked(folder):
        run = first_run(study, stages, tmp_path)
    assert (run.state, run.stage, run.step, run.steps) == ("running", "train", 2000, 5000)
    assert run.loss == pytest.approx(1 / 2000)
    assert run.steps_per_second == pytest.approx(20.0)
    assert run.seconds_left == pytest.approx(150.0)
    assert read_status(study, stages, tmp_path, NOW).runs[1].state == "waiting"


def test_a_fresh_log_without_a_process_is_stopped(study: Study, stages: Stages, tmp_path: Path) -> None:
    write_training(tmp_path, stages, last=2000, rate=20.0, age=1.0)
    run = first_run(study, stages, tmp_path)
    assert (run.state, run.seconds_left) == ("stopped", None)


def record_job(results: Path, **changes: Any) -> None:
    log = results / "logs" / "train" / f"{SLUG}_seed-0_step-5000.log"
    write_old(log, "step 1", 10.0)
    wildcards = {"variant": SLUG, "seed": "0", "step": "5000"}
    output = f"{results}/{SLUG}/seed-0/step-5000/ema.safetensors"
    job = JobRecord(rule="train_milestone", wildcards=wildcards, output=output, log=str(log), holder=Holder.here())
    write_json(results / ".jobs" / "train" / f"{log.name}.json", job.model_copy(update=changes).model_dump())


def dead() -> Holder:
    return Holder.here().model_copy(update={"started": 1.0})


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "running"),
        ({"error": "the loss is NaN"}, "failed"),
        ({"holder": dead()}, "failed"),
        ({"holder": Holder(host="elsewhere", pid=1, started=1.0)}, "running"),
        ({"holder": Holder(host="elsewhere", pid=1, started=1.0), "error": "no"}, "failed"),
    ],
    ids=["alive", "failed", "killed", "elsewhere", "failed elsewhere"],
)
def test_a_job_runs_while_its_process_lives_and_has_failed_where_it_says_so_or_is_gone(
    study: Study, stages: Stages, tmp_path: Path, changes: dict[str, Any], state: str
) -> None:
    record_job(tmp_path, **changes)
    status = read_status(study, stages, tmp_path, NOW)
    assert [run.state for run in status.runs] == [state, "waiting"]
    assert len(status.failures) == (state == "failed")
    told = describe_status(status, tmp_path)
    assert (f"Failed: {tmp_path}/{SLUG}/seed-0/step-5000/ema.safetensors (train_milestone): " in told) == (
        state == "failed"
    )
    if "error" in changes:
        assert changes["error"] in told


def test_a_job_elsewhere_whose_log_is_silent_is_not_said_to_run(study: Study, stages: Stages, tmp_path: Path) -> None:
    record_job(tmp_path, holder=Holder(host="elsewhere", pid=1, started=1.0))
    assert read_status(study, stages, tmp_path, NOW + 3600).runs[0].state == "waiting"


def test_a_report_of_other_settings_is_said_to_be_one(study: Study, stages: Stages, tmp_path: Path) -> None:
    write_record(tmp_path / "provenance.json", stages.aggregate().digest)
    mark = f'<meta name="settings-digest" content="{stages.report().digest}">'
    (tmp_path / "report.html").write_text(mark)
    status = read_status(study, stages, tmp_path, NOW)
    assert (status.reported, status.outdated) == (True, False)
    (tmp_path / "report.html").write_text(mark.replace(stages.report().digest, "0" * 16))
    status = read_status(study, stages, tmp_path, NOW)
    assert (status.reported, status.outdated) == (False, True)
    assert "report of other settings" in describe_status(status, tmp_path)
    (tmp_path / "report.html").write_text(mark)
    write_record(tmp_path / "provenance.json", "0" * 16)
    assert read_status(study, stages, tmp_path, NOW).outdated


def test_a_line_that_is_being_written_is_no_line(study: Study, stages: Stages, tmp_path: Path) -> None:
    folder = write_training(tmp_path, stages, last=500, rate=20.0, age=1.0)
    write_old(folder / "metrics.jsonl", (folder / "metrics.jsonl").read_text() + '{"step": 55', 1.0)
    assert first_run(study, stages, tmp_path).step == 500


def test_trained_with_other_settings_or_latents_is_not_done(study: Study, stages: Stages, tmp_path: Path) -> None:
    write_training(tmp_path, stages, last=2000, rate=20.0, age=3.0)
    write_json(tmp_path / "latents" / "manifest.json", {"content": "others"})
    write_record(tmp_path / SLUG / "seed-0" / "step-5000" / "provenance.json", "other settings")
    run = first_run(study, stages, tmp_path)
    assert (run.state, run.step) == ("waiting", 0)


def test_samples_features_and_scores_are_counted(study: Study, stages: Stages, tmp_path: Path) -> None:
    write_results(tmp_path, study, stages, sampled=False, extracted=False, scored=False)
    run = first_run(study, stages, tmp_path)
    assert (run.state, run.stage, run.step, run.sampled, run.scored) == ("waiting", "sample", 5000, (0, 4), (0, 4))
    write_results(tmp_path, study, stages, sampled=True, extracted=False, scored=False)
    run = first_run(study, stages, tmp_path)
    assert (run.state, run.stage, run.extracted) == ("waiting", "features", (0, 4))
    write_results(tmp_path, study, stages, sampled=True, extracted=True, scored=False)
    run = first_run(study, stages, tmp_path)
    assert (run.state, run.stage, run.sampled, run.extracted) == ("waiting", "score", (4, 4), (4, 4))
    write_results(tmp_path, study, stages, sampled=True, extracted=True, scored=True)
    run = first_run(study, stages, tmp_path)
    assert (run.state, run.scored) == ("done", (4, 4))


def test_given_weights_wait_for_no_training(tmp_path: Path) -> None:
    given = parse_study(CONFIG | {"variants": ["DiT-Nano/2"], "checkpoints": {"DiT-Nano/2": "weights.pt"}})
    run = first_run(given, Stages(given, "0" * 16, checkpoints={"DiT-Nano/2": "f" * 64}), tmp_path)
    assert (run.state, run.stage, run.step) == ("waiting", "sample", 5000)
    assert run.sampled == (0, 2)  # one export at two guidance scales


def test_shared_stages_and_report(study: Study, stages: Stages, tmp_path: Path) -> None:
    write_record(tmp_path / "vae" / "provenance.json", stages.vae().digest)
    write_record(tmp_path / "provenance.json", stages.aggregate().digest)
    (tmp_path / "report.html").touch()
    status = read_status(study, stages, tmp_path, NOW)
    assert [name for name, done in status.shared.items() if done] == ["vae", "aggregate"]
    assert status.reported


def test_lines_for_the_terminal(study: Study, stages: Stages, tmp_path: Path) -> None:
    folder = write_training(tmp_path, stages, last=2000, rate=20.0, age=3.0)
    with locked(folder):
        lines = describe_status(read_status(study, stages, tmp_path, NOW), tmp_path).splitlines()
    assert "report waiting" in lines[1]
    assert lines[4].split() == (
        "DiT-Nano/2 0 running: train 2,000 of 5,000 0.0005 20 3 min 0 of 4 0 of 4 0 of 4".replace(
            "3 min", "2 min"
        ).split()
    )


def write_gate(results: Path, stages: Stages, step: int, status: str, digest: str | None = None) -> None:
    gate = {
        "variant": "DiT-Nano/2",
        "seed": 0,
        "step": step,
        "status": status,
        "reason": "it says so.",
        "page": "g.html",
    }
    place = results / SLUG / "seed-0" / f"step-{step}"
    write_json(
        place / "gate.json", gate | {"page": "g.html", "settings_digest": digest or stages.gate(SLUG, 0, step).digest}
    )


@pytest.mark.parametrize(
    ("verdicts", "shown"),
    [
        ({}, None),
        ({0: "on track"}, "on track"),
        ({0: "broken", -1: "undertrained for this budget"}, "broken"),
        ({0: "on track", -1: "undertrained for this budget"}, "undertrained for this budget"),
    ],
)
def test_a_run_shows_what_its_gates_found(
    study: Study, stages: Stages, tmp_path: Path, verdicts: dict[int, str], shown: str | None
) -> None:
    write_results(tmp_path, study, stages, sampled=True, extracted=True, scored=True)
    stops = study.training.stops
    for place, verdict in verdicts.items():
        write_gate(tmp_path, stages, stops[place], verdict)
    status = read_status(study, stages, tmp_path, NOW)
    assert (status.runs[0].state, status.runs[0].gate) == ("done", shown)
    assert [found.step for found in status.broken] == ([stops[0]] if shown == "broken" else [])
    lines = describe_status(status, tmp_path).splitlines()
    assert (f"BROKEN: DiT-Nano/2 seed 0 at step {stops[0]:,}: it says so." in "\n".join(lines)) == (shown == "broken")
    assert "done" in lines[4]
    assert (shown or "").split(" for")[0] in lines[4]
    told = json.loads(status_json(status))
    assert told["runs"][0]["gate"] == shown
    assert told["broken"] == [] or told["broken"][0]["reason"] == "it says so."


def test_a_gate_of_other_settings_says_nothing(study: Study, stages: Stages, tmp_path: Path) -> None:
    write_gate(tmp_path, stages, study.training.stops[0], "broken", digest="0" * 16)
    status = read_status(study, stages, tmp_path, NOW)
    assert (status.runs[0].gate, status.broken) == (None, ())


def test_a_watch_looks_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 2:
            raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dit_scaling.cli.status_command.time.sleep", sleep)
    answer = CliRunner().invoke(app, ["status", str(TINY), "--watch", "--every", "0.5"])
    assert answer.output.count("Study tiny in results/tiny") == 2
    assert looks == [0.5, 0.5]
    assert "\x1b" not in answer.output


def test_the_command_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['dit-scaling', 'status', sys.argv[1]]\n"
        "from dit_scaling.cli import app\n"
        "app(standalone_mode=False)\n"
        "assert not {'torch', 'matplotlib', 'scipy.linalg', 'scipy.stats'} & sys.modules.keys()"
    )
    answer: Any = subprocess.run(
        [sys.executable, "-c", code, str(TINY)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert "Study tiny in results/tiny" in answer.stdout
    assert answer.stdout.count("waiting: train") == 4
    assert not (tmp_path / "results").exists()


def test_open_stages_are_those_of_the_snakefile(study: Study, stages: Stages, tmp_path: Path) -> None:
    opened = open_stages(study, tmp_path)
    assert opened.train(SLUG, 0).digest != stages.train(SLUG, 0).digest  # the digits' own fingerprint counts
    assert opened.train(SLUG, 0).digest == open_stages(study, tmp_path).train(SLUG, 0).digest
