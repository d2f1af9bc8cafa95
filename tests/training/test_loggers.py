"""Loggers beside training: what they are told, that a run is resumed into, and that none stops or slows training."""

import json
import logging
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file

from dit_scaling.config import Stages, load_study
from dit_scaling.config.stages import GateSettings, TrainSettings
from dit_scaling.health.check import Check, at_least, at_most
from dit_scaling.health.gates.gate import Gate
from dit_scaling.health.gates.gate_telling import telling
from dit_scaling.health.gates.gate_verdict import GateVerdict
from dit_scaling.training import loggers
from dit_scaling.training.bands import BandLosses
from dit_scaling.training.loggers import LoggedRun, logged, run_of
from dit_scaling.training.loop import train_to
from dit_scaling.training.records import WINDOW
from dit_scaling.training.runtime import Runtime
from pipeline import ROOT, warm_python

CPU = torch.device("cpu")
RECORDING = """
import json, os
from pathlib import Path
def init(**how):
    return Run(how)
def Image(path):
    return {"bytes": Path(path).stat().st_size}
class Run:
    def __init__(self, how):
        self.file = Path(how["dir"], "told.jsonl")
        self.tell({"init": {key: how[key] for key in ("project", "name", "id", "resume")}})
    def tell(self, what):
        with self.file.open("a") as lines:
            lines.write(json.dumps(what) + "\\n")
    def define_metric(self, name, step_metric):
        assert step_metric == "gate/step"
    def log(self, values, step=None):
        self.tell({"step": step, **values})
    def finish(self):
        self.tell({"finished": True})
"""
FAULTS = {
    "hangs when opened": "import time\ndef init(**how): time.sleep(3600)",
    "hangs when told": "import time\nclass Run:\n    def log(self, values, step): time.sleep(3600)\n"
    "def init(**how): return Run()",
    "hangs when imported": "import time\ntime.sleep(3600)",
    "raises when opened": "def init(**how): raise RuntimeError('no such project')",
    "raises when told": "class Run:\n    def log(self, values, step): raise OSError('no network')\n"
    "def init(**how): return Run()",
    "raises when imported": "raise ValueError('a broken package')",
    "is not installed": "raise ImportError('No module named wandb')",
    "dies": "import os\nos._exit(3)",
}


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """A package wandb that only the logger's process sees."""
    (folder / "packages").mkdir()
    (folder / "packages" / "wandb.py").write_text(package)
    path = loggers.os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", f"{folder / 'packages'}:{path}")


def a_run(folder: Path) -> LoggedRun:
    return LoggedRun("study", "DiT-S-2_seed-0", "0" * 16, str(folder / "loggers"), 0, {"seed": 0})


@pytest.mark.parametrize("fault", FAULTS)
def test_a_logger_with_a_fault_neither_stops_nor_slows_training(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(tmp_path, monkeypatch, FAULTS[fault])
    monkeypatch.setattr(loggers, "CLOSE_SECONDS", 0.3 if "hangs" in fault else 60.0)
    values = {f"value {number}": 1 / 3 for number in range(20)}
    with caplog.at_level(logging.WARNING), logged(["wandb"], a_run(tmp_path)) as (process,):
        slowest = 0.0
        for step in range(300):  # more than a pipe holds
            began = time.process_time()
            process.log(step, values)
            slowest = max(slowest, time.process_time() - began)
        ending = time.monotonic()
    assert slowest < 0.1
    told = caplog.text
    if "hangs" in fault:
        assert time.monotonic() - ending < 20
        assert "does not keep up" in told
        assert "was ended" in told
        assert "records were dropped" in told
    else:
        assert "wandb has failed, training goes on without it" in told
        expected = {"raises when opened": "no such project", "raises when told": "no network"}
        expected |= {"raises when imported": "a broken package", "is not installed": "pip install 'dit-scaling[wandb]'"}
        assert expected.get(fault, "it said nothing") in told


def test_a_logger_that_cannot_be_started_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loggers.sys, "executable", str(tmp_path / "nothing"))
    with logged(["wandb"], a_run(tmp_path)) as started:
        assert started == []
    assert "wandb cannot be started" in caplog.text


def test_a_resumed_run_goes_on_in_the_same_one_with_the_same_weights(
    toy_run: TrainSettings, toy_latents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, RECORDING)
    monkeypatch.setattr(loggers, "CLOSE_SECONDS", 60.0)
    states = tmp_path / "study" / "states"
    runtime = Runtime(device=CPU, loggers=("wandb",), peak_tflops=1.0)
    for last in (WINDOW, 2 * WINDOW):
        folder = train_to(toy_run, toy_latents, last, states, runtime)
    told = [json.loads(line) for line in (tmp_path / "study" / "loggers" / "told.jsonl").read_text().splitlines()]
    first, second = (line["init"] for line in told if "init" in line)
    assert first == second
    assert (first["project"], first["id"], first["resume"]) == ("study", toy_run.digest, "allow")
    records = [line for line in told if "step" in line]
    assert [line["step"] for line in records] == [WINDOW, 2 * WINDOW]
    kept = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    for line, record in zip(kept, records, strict=True):
        assert record["loss/loss"] == line["loss"]
        assert record["gradient_norm"] == line["gradient_norm"]
        assert record["learning_rate"] == pytest.approx(toy_run.recipe.learning_rate)
        assert record["memory_gb"] > 0
        assert len([name for name in record if name.startswith("loss by time/")]) == 4
    assert sum("finished" in line for line in told) == 2

    alone = train_to(toy_run, toy_latents, 2 * WINDOW, tmp_path / "alone" / "states", Runtime(device=CPU))
    for name in ("raw.safetensors", "ema.safetensors"):
        ours, theirs = (load_file(some.export_path(2 * WINDOW, name)) for some in (folder, alone))
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_utilisation_is_of_the_time_between_two_windows(
    toy_run: TrainSettings, toy_latents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, RECORDING)
    monkeypatch.setattr(loggers, "CLOSE_SECONDS", 60.0)
    states = tmp_path / "study" / "states"
    train_to(toy_run, toy_latents, 2 * WINDOW, states, Runtime(device=CPU, loggers=("wandb",), peak_tflops=0.5))
    told = [json.loads(line) for line in (tmp_path / "study" / "loggers" / "told.jsonl").read_text().splitlines()]
    last = next(line for line in reversed(told) if "step" in line)
    assert last["mfu"] == pytest.approx(last["tflops"] / 0.5)
    assert last["samples_per_second"] > 0


def test_bands_are_the_means_of_the_samples_in_them() -> None:
    bands = BandLosses(1000, CPU)
    t, losses = torch.randint(1000, (64,), generator=torch.Generator().manual_seed(0)), torch.rand(64)
    bands.add(t[:40], losses[:40])
    bands.add(t[40:], losses[40:])
    found = list(bands.take().values())
    expected = [losses[(t >= low) & (t < low + 250)].mean().item() for low in (0, 250, 500, 750)]
    assert found == pytest.approx(expected)
    bands.add(torch.tensor([0.99, 0.3]), torch.tensor([5.0, 2.0]))  # times of a flow
    assert bands.take() == {"t 0.75 to 1.00": 5.0, "t 0.25 to 0.50": 2.0}


STUDY = load_study(ROOT / "config" / "config.yaml")
GATE = Gate(
    GateVerdict("undertrained for this budget", "no fault found, but the samples look like noise."),
    (
        at_most("loss", 0.5, 2.0, "none"),
        at_least("share of samples", 0.25, 0.5, "train"),
        Check("log", "", "", True, ""),
    ),
    np.arange(16 * 32 * 32, dtype=np.uint8).reshape(16, 32, 32, 1),
)


def a_gate(step: int) -> GateSettings:
    variant = STUDY.variant(STUDY.variants[0])
    return Stages(STUDY, "images").gate(variant.slug, STUDY.training.seeds[0], step)


def tell_gate(results: Path, step: int, logger: str) -> None:
    with telling(a_gate(step), results, (logger,)) as tell:
        tell(GATE)


@pytest.mark.parametrize("fault", ["hangs when opened", "hangs when imported", "raises when opened", "dies"])
def test_a_logger_with_a_fault_neither_stops_nor_slows_a_gate(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(tmp_path, monkeypatch, FAULTS[fault])
    monkeypatch.setattr(loggers, "CLOSE_SECONDS", 0.3 if "hangs" in fault else 60.0)
    began = time.monotonic()
    with caplog.at_level(logging.WARNING):
        tell_gate(tmp_path, 500, "wandb")
    assert ("was ended" if "hangs" in fault else "wandb has failed, gate goes on without it") in caplog.text
    assert time.monotonic() - began < 60


def test_what_cannot_be_written_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(tmp_path, monkeypatch, RECORDING)
    monkeypatch.setattr(loggers, "CLOSE_SECONDS", 60.0)
    (tmp_path / "loggers").mkdir()
    (tmp_path / "loggers" / "gates").write_text("no folder")
    tell_gate(tmp_path, 500, "wandb")
    assert "The gate is not logged" in caplog.text


def test_without_loggers_a_gate_starts_and_writes_nothing(tmp_path: Path) -> None:
    with telling(a_gate(500), tmp_path, ()) as tell:
        tell(GATE)
    assert list(tmp_path.iterdir()) == []


def test_a_gate_is_told_to_the_run_that_trained_once_its_training_lets_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, RECORDING)
    monkeypatch.setattr(loggers, "CLOSE_SECONDS", 60.0)
    run, told = run_of(a_gate(500).training, tmp_path, 0), tmp_path / "loggers" / "told.jsonl"
    with FileLock(Path(run.folder, f"{run.name}-wandb.lock")):  # as training holds it
        tell_gate(tmp_path, 500, "wandb")
        assert not told.exists()
    with logged(["wandb"], run) as (process,):
        process.log(600, {"loss/loss": 1.0})
    tell_gate(tmp_path, 1000, "wandb")
    lines = [json.loads(line) for line in told.read_text().splitlines()]
    assert [line["init"]["id"] for line in lines if "init" in line] == [a_gate(500).training.digest] * 2
    first, second = (line for line in lines if "gate/step" in line)
    assert lines.index(first) == 2  # within the training's, after its own step
    assert (first["step"], first["gate/step"], second["gate/step"]) == (None, 500, 1000)
    for line in (first, second):
        assert line["gate/verdict"] == 1
        assert line["gate/margin/loss"] == pytest.approx(0.75)
        assert line["gate/margin/share of samples"] == pytest.approx(-0.5)
        assert "gate/margin/log" not in line
        assert line["gate/reason"] == f"{GATE.verdict.status}: {GATE.verdict.reason}"
        assert line["gate/samples"]["bytes"] > 100


def test_tensorboard_shows_a_gate_beside_the_curves_of_its_run_and_hides_what_a_resume_repeats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loggers, "CLOSE_SECONDS", 120.0)
    monkeypatch.setattr(loggers.sys, "executable", str(warm_python().executable))  # importing torch takes two seconds
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for first, gate in ((0, 100), (100, 200)):
        run = run_of(a_gate(gate).training, tmp_path, first)
        with logged(["tensorboard"], run) as (process,):
            for step in range(first + 50, first + 151, 50):
                process.log(step, {"loss/loss": step + first / 1000})
        tell_gate(tmp_path, gate, "tensorboard")
    events = accumulator.EventAccumulator(str(tmp_path / "loggers" / "tensorboard" / run.name)).Reload()
    losses = [(event.step, round(event.value, 3)) for event in events.Scalars("loss/loss")]
    assert losses == [(50, 50.0), (100, 100.0), (150, 150.1), (200, 200.1), (250, 250.1)]
    assert [(event.step, event.value) for event in events.Scalars("gate/verdict")] == [(100, 1.0), (200, 1.0)]
    assert [event.value for event in events.Scalars("gate/margin/loss")] == pytest.approx([0.75] * 2)
    assert [event.step for event in events.Images("gate/samples")] == [100, 200]
    assert events.Images("gate/samples")[0].width > 8 * 64
    (reason, _) = events.Tensors("gate/reason/text_summary")
    assert GATE.verdict.reason.encode() in reason.tensor_proto.string_val[0]


def test_loggers_change_no_digest() -> None:
    study = load_study(ROOT / "config" / "config.yaml")
    with_loggers = study.model_copy(
        update={"training": study.training.model_copy(update={"loggers": ("tensorboard", "wandb")})}
    )
    slug, seed, step = study.variant(study.variants[0]).slug, study.training.seeds[0], study.training.steps
    plain, logging_too = (Stages(some, "images") for some in (study, with_loggers))
    for ask in (
        lambda stages: stages.train(slug, seed),
        lambda stages: stages.preflight(),
        lambda stages: stages.gate(slug, seed, step),
        lambda stages: stages.score(slug, seed, step, 1.0, ()),
        lambda stages: stages.aggregate(),
        lambda stages: stages.report(),
    ):
        assert ask(plain).digest == ask(logging_too).digest
