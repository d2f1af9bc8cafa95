"""Gates judge real runs: faults are put into the product's own code, and must be named."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from dit_scaling.config.stages import GateSettings, SampleSettings, TrainSettings
from dit_scaling.diffusion import samplers
from dit_scaling.errors import UserError
from dit_scaling.files import read_json, write_json
from dit_scaling.protocol.gates.record import refuse_if_broken
from dit_scaling.protocol.gates.stage import GateFiles, run_gate
from dit_scaling.report.checks import view_gates
from dit_scaling.training import loop
from dit_scaling.training.loop import train_to
from dit_scaling.training.records import export_records
from dit_scaling.training.runtime import Runtime
from pipeline import ROOT, edited, plan, snakemake

STEPS = 300
CPU = torch.device("cpu")

Judge = Callable[..., dict]


@pytest.fixture
def judge(toy_latents: Path, toy_vae: Path, toy_run: TrainSettings, tmp_path: Path) -> Judge:
    """Train the toy run with changed settings and put it through the gate; the record, its page already looked for."""

    def train_and_judge(step: int = STEPS, **changes: object) -> dict:
        training = toy_run.model_copy(update={"batch_size": 16, "learning_rate": 4e-3, "ema_ramp": True, **changes})
        folder = train_to(training, toy_latents, step, tmp_path / "states", Runtime(CPU))
        export_records(folder.metrics, step, tmp_path / "metrics.jsonl")
        sampling = SampleSettings(
            num_samples=64,
            parts=1,
            sampler="ddpm",
            steps=20,
            guidance_scale=1.0,
            guidance_channels=None,
            labels="balanced",
            seed=0,
            num_classes=training.num_classes,
            image_channels=1,
            checkpoint="toy",
        )
        settings = GateSettings(training=training, sampling=sampling, step=step, budget=STEPS)
        files = GateFiles(
            folder.export_path(step, "raw.safetensors"),
            folder.export_path(step, "ema.safetensors"),
            tmp_path / "metrics.jsonl",
            toy_latents,
            toy_vae,
        )
        run_gate(settings, files, tmp_path / "gate.json", tmp_path / "gate.html", CPU)
        record = read_json(tmp_path / "gate.json")
        assert record["status"].capitalize() in (tmp_path / "gate.html").read_text()
        return record

    return train_and_judge


def failed(record: dict) -> list[str]:
    return [check["name"] for check in record["checks"] if not check["passed"]]


def test_a_healthy_run_has_no_fault_and_may_go_on(judge: Judge, tmp_path: Path) -> None:
    record = judge()
    assert set(failed(record)) <= {"samples like data"}
    assert record["status"] in {"on track", "undertrained for this budget"}
    refuse_if_broken(tmp_path / "gate.json")


def test_a_tenth_of_the_budget_is_not_broken(judge: Judge) -> None:
    assert judge(step=STEPS // 10)["status"] == "on track"


def test_ema_decay_of_one_is_named_and_stops_the_run(judge: Judge, tmp_path: Path) -> None:
    record = judge(ema_decay=1.0, ema_ramp=False)
    assert record["status"] == "broken"
    assert failed(record)[0] == "EMA moved from its start"
    with pytest.raises(UserError, match=r"stopped by the gate at step 300: EMA moved from its start .*gate\.html"):
        refuse_if_broken(tmp_path / "gate.json")


def test_ema_that_is_never_updated_is_named(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "update_ema", lambda *_: None)
    assert failed(judge())[0] == "EMA moved from its start"


def test_respaced_index_in_place_of_the_timestep_is_named(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samplers, "_timesteps", lambda _, index, y: torch.full_like(y, index))
    record = judge()
    assert record["status"] == "broken"
    assert failed(record)[0] == "sampling against one-step prediction"


def test_a_learning_rate_a_hundred_times_too_high_is_named(judge: Judge) -> None:
    record = judge(learning_rate=0.4)
    assert record["status"] == "broken"
    assert any(name.startswith("loss against") for name in failed(record))


# --- in the report


def write_gate(folder: Path, step: int, status: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "gate.json"
    fields = {"variant": "DiT-Toy/2", "seed": 0, "step": step, "status": status, "reason": f"because of {status}"}
    write_json(path, {**fields, "page": "gate.html"})
    return path


def test_the_report_names_broken_runs_first(tmp_path: Path) -> None:
    fine = write_gate(tmp_path / "step-1", 1, "on track")
    broken = write_gate(tmp_path / "step-2", 2, "broken")
    undertrained = write_gate(tmp_path / "step-3", 3, "undertrained for this budget")
    report = tmp_path / "report.html"
    view = view_gates([undertrained, broken, fine], report)
    assert (view.level, [gate.step for gate in view.broken]) == ("red", [2])
    assert view.broken[0].page == "step-2/gate.html"
    assert view_gates([fine, undertrained], report).level == "amber"
    assert view_gates([fine], report).level == "green"
    assert view_gates([], report).sentence.startswith("Gates are off")


def test_a_record_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "gate.json").write_text("{}")
    with pytest.raises(UserError, match=r"gate\.json is no record of a gate"):
        view_gates([tmp_path / "gate.json"], tmp_path / "report.html")


# --- in the pipeline


def test_every_stop_has_a_gate_unless_they_are_off(tmp_path: Path) -> None:
    gated = {"training.gates": "warn", "training.gate_steps": [5], "variants": ["DiT-Nano/2"]}
    jobs = plan(tmp_path, config=edited(tmp_path, gated))
    run = "results/tiny/DiT-Nano-2/seed-0"
    assert jobs["gate"] == {f"{run}/step-{step}/gate.json" for step in (5, 10, 20)}
    assert jobs["train_milestone"] == {f"{run}/step-{step}/ema.safetensors" for step in (5, 10, 20)}
    assert {Path(file).parts[4] for file in jobs["sample_part"]} == {"step-10", "step-20"}
    assert "gate" not in plan(tmp_path)


@pytest.mark.slow
def test_a_broken_study_stops_or_says_so(tmp_path: Path) -> None:
    """The example's fault in the tiny study: nothing goes on from the first gate, unless gates only warn."""
    example = yaml.safe_load((ROOT / "config" / "example-broken-ema.yaml").read_text())
    fault = {
        "training.ema_decay": example["training"]["ema_decay"],
        "training.learning_rate": 4.0e-3,
        "training.milestones": [],
        "training.gate_steps": [100],
        "training.steps": 150,
        "variants": ["DiT-Nano/2"],
    }
    stopped = snakemake(tmp_path, "--cores", "2", config=edited(tmp_path, fault | {"training.gates": "stop"}))
    run = tmp_path / "results" / "tiny" / "DiT-Nano-2" / "seed-0"
    assert stopped.returncode != 0
    assert "stopped by the gate at step 100: EMA moved from its start" in stopped.stderr
    assert (run / "step-100" / "gate.html").exists()
    assert not (run / "step-150").exists()

    warned = snakemake(tmp_path, "--cores", "2", config=edited(tmp_path, fault | {"training.gates": "warn"}))
    assert warned.returncode == 0, warned.stderr
    first_screen = (tmp_path / "results" / "tiny" / "report.html").read_text().split("<main>")[0]
    assert "1 of 1 runs are broken" in first_screen
    assert "EMA moved from its start" in first_screen
