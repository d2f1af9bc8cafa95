"""Gates judge real runs: faults are put into the product's own code, and must be named."""

import itertools
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import read_json, write_json
from dit_scaling.config.stages import GateSettings, SampleSettings, TrainSettings
from dit_scaling.diffusion import samplers
from dit_scaling.diffusion.process import PAPER_PROCESS, DiffusionSettings, create_diffusion
from dit_scaling.health.check import describe_margin
from dit_scaling.health.denoising import mean_structureless_error
from dit_scaling.health.gates.gate import GateFiles, run_gate
from dit_scaling.health.gates.gate_record import refuse_if_broken
from dit_scaling.health.gates.gate_verdict import judge as judge_checks
from dit_scaling.health.gates.loss_curve import draw_loss
from dit_scaling.health.gates.run_checks import (
    check_landmarks,
    check_log,
    check_progress,
    check_samples,
    published_losses,
)
from dit_scaling.report.health_tables import view_gates
from dit_scaling.training import step as step_module
from dit_scaling.training.batches import Batch, BatchSource
from dit_scaling.training.loop import train_to
from dit_scaling.training.run_curves import CURVE_POINTS
from dit_scaling.training.runtime import Runtime
from pipeline import ROOT, edited, plan, snakemake

STEPS = 300
SHORT = {
    "variants": ["DiT-Nano/2"],
    "vae.steps": 150,  # fewer do not give the digits back, and preflight stops the study
    "training.steps": 150,
    "training.gate_steps": [100],
    "training.warmup_steps": 5,
    "sampling.num_samples": 60,
    "sampling.steps": 5,
    "metrics.extractor.steps": 20,
    "metrics.extractor.feature_dim": 16,
    "metrics.kid_subsets": 10,
    "metrics.kid_subset_size": 20,
    "metrics.bootstrap": 10,
}
CPU = torch.device("cpu")

Judge = Callable[..., dict]


@pytest.fixture
def judge(toy_latents: Path, toy_vae: Path, toy_run: TrainSettings, tmp_path: Path) -> Judge:
    """Train the toy run with changed settings and put it through the gate; the record, its page already looked for."""

    def train_and_judge(
        step: int = STEPS,
        budget: int = STEPS,
        sampler: str = "ddpm",
        diffusion: DiffusionSettings = PAPER_PROCESS,
        **changes: object,
    ) -> dict:
        training = toy_run.with_recipe(**{"batch_size": 16, "learning_rate": 4e-3, "ema_ramp": True, **changes})
        training = training.model_copy(update={"diffusion": diffusion})
        folder = train_to(training, toy_latents, step, tmp_path / "states", Runtime(device=CPU))
        sampling = SampleSettings(
            num_samples=64,
            parts=1,
            sampler=sampler,
            steps=20,
            guidance_scale=1.0,
            guidance_channels=None,
            labels="balanced",
            seed=0,
            num_classes=training.num_classes,
            image_channels=1,
            checkpoint="toy",
            diffusion=training.diffusion,
        )
        settings = GateSettings(training=training, sampling=sampling, step=step, budget=budget)
        files = GateFiles(
            folder.export_path(step, "raw.safetensors"),
            folder.export_path(step, "ema.safetensors"),
            folder.export_path(step, "metrics.jsonl"),
            toy_latents,
            toy_vae,
        )
        run_gate(settings, files, tmp_path / "gate.json", tmp_path / "gate.html", CPU)
        record = read_json(tmp_path / "gate.json")
        page = (tmp_path / "gate.html").read_text()
        assert record["status"].capitalize() in page
        logged = bool(files.log.read_text())
        assert ('<svg class="chart"' in page) == logged
        assert ("of the latents alone allows</h3>" in page) == logged
        assert re.search(r"<tbody>\s*</tbody>", page) is None
        for check in record["checks"]:
            assert check["margin"] is None or f">{describe_margin(check['margin'])}</td>" in page
        return record

    return train_and_judge


def failed(record: dict) -> list[str]:
    return [check["name"] for check in record["checks"] if not check["passed"]]


def test_a_healthy_run_has_no_fault_and_may_go_on(judge: Judge, tmp_path: Path) -> None:
    record = judge()
    assert set(failed(record)) <= {"samples like data"}
    exact = {check["name"] for check in record["checks"] if check["margin"] is None}
    assert exact == {"sampled latents are finite"}
    assert record["status"] in {"on track", "undertrained for this budget"}
    refuse_if_broken(tmp_path / "gate.json")


def test_a_healthy_run_of_another_process_sampled_by_ode_has_no_fault(judge: Judge) -> None:
    record = judge(sampler="dpm-solver", diffusion=DiffusionSettings(schedule="cosine", num_timesteps=500))
    assert set(failed(record)) <= {"samples like data"}
    assert set(record["noise errors"]["ema"]) == {"12", "50", "125", "250", "375", "475"}


def test_a_tenth_of_the_budget_is_not_broken(judge: Judge) -> None:
    assert judge(step=STEPS // 10)["status"] == "on track"


def test_a_run_that_ends_at_a_tenth_of_its_budget_is_undertrained(judge: Judge) -> None:
    record = judge(step=STEPS // 10, budget=STEPS // 10)
    assert record["status"] == "undertrained for this budget"
    assert failed(record) == ["samples like data"]


def test_ema_decay_of_one_is_named_and_stops_the_run(judge: Judge, tmp_path: Path) -> None:
    record = judge(ema_decay=1.0, ema_ramp=False)
    assert record["status"] == "broken"
    assert failed(record)[0] == "EMA moved from its start"
    with pytest.raises(UserError, match=r"stopped by the gate at step 300: EMA moved from its start .*gate\.html"):
        refuse_if_broken(tmp_path / "gate.json")


def test_ema_that_is_never_updated_is_named(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_module, "update_ema", lambda *_: None)
    assert failed(judge())[0] == "EMA moved from its start"


def test_ema_that_began_at_zero_is_named(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    update, updates = step_module.update_ema, []

    def from_zero(average: torch.Tensor, weights: torch.Tensor, decay: float) -> None:
        average.mul_(bool(updates))
        updates.append(decay)
        update(average, weights, decay)

    monkeypatch.setattr(step_module, "update_ema", from_zero)
    assert failed(judge(ema_decay=0.9999, ema_ramp=False))[0] == "EMA on the scale of the weights"


def test_respaced_index_in_place_of_the_timestep_is_named(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samplers, "fed_timesteps", lambda _, index, y: torch.full_like(y, index))
    record = judge()
    assert record["status"] == "broken"
    assert failed(record)[0] == "sampling against one-step prediction"


def test_a_learning_rate_a_hundred_times_too_high_is_named(judge: Judge) -> None:
    record = judge(learning_rate=0.4)
    assert record["status"] == "broken"
    assert any(name.startswith("loss against") for name in failed(record))
    assert "the learning rate is" in record["reason"]


def test_batches_that_explode_are_named(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = BatchSource.batch

    def fails_in_the_end(self: BatchSource, step: int) -> Batch:
        batch = whole(self, step)
        return replace(batch, noise=1000 * batch.noise) if step >= STEPS - 50 else batch

    monkeypatch.setattr(BatchSource, "batch", fails_in_the_end)
    assert {"gradient norm against its past", "sampled latents are finite"} <= set(failed(judge()))


# --- long enough?


def log_until(last: int) -> list[dict[str, float]]:
    """Windows of a loss that falls with the inverse of the steps."""
    return [{"step": step, "mse": 0.14 + 20 / step} for step in range(50, last + 1, 50)]


def test_a_run_that_ends_while_it_learns_fast_is_undertrained() -> None:
    like_data = check_samples(1.0)
    short, whole = (check_progress(log_until(last)) for last in (1000, 10_000))
    assert (short.passed, whole.passed) == (False, True)
    assert judge_checks([], [like_data, whole], 10_000, 10_000).status == "on track"
    verdict = judge_checks([], [like_data, short], 1000, 1000)
    assert verdict.status == "undertrained for this budget"
    assert f"is {short.value} of that of the first tenth" in verdict.reason
    assert judge_checks([], [check_samples(0.5)], 1000, 1000).status == "undertrained for this budget"
    assert judge_checks([], [check_samples(0.5)], 1000, 10_000).status == "on track"


def test_a_loss_above_what_the_variance_explains_is_a_fault_only_where_it_does_not_fall() -> None:
    by_variance = mean_structureless_error(create_diffusion(PAPER_PROCESS), 1.0)

    def passes(errors: list[float]) -> bool:
        lines = [{"step": 50 * (i + 1), "loss": e, "mse": e, "gradient_norm": 1.0} for i, e in enumerate(errors)]
        return {check.name: check.passed for check in check_log(lines, by_variance)}[
            "loss against the latents' variance"
        ]

    assert passes([0.9, 0.5, 0.37, 0.33])
    assert not passes([0.9, 0.34, 0.33, 0.33])
    assert not passes([9.0, 3.0, 1.0, 1.0])
    assert passes([0.9, 0.2, 0.2, 0.2])


# --- against published runs


def imagenet(settings: TrainSettings) -> TrainSettings:
    return settings.model_copy(update={"input_size": 32, "in_channels": 4, "num_classes": 1000})


@pytest.mark.parametrize(("loss", "passed"), [(0.17, True), (0.19, True), (0.1, False), (0.3, False)])
def test_the_loss_on_imagenet_is_compared_with_healthy_runs(toy_run: TrainSettings, loss: float, passed: bool) -> None:
    lines = [{"step": step, "loss": 0.2} for step in range(50, 4950, 50)] + [{"step": 5000, "loss": loss}] * 20
    (check,) = check_landmarks(imagenet(toy_run), lines)
    assert (check.name, check.passed) == ("loss against published runs", passed)
    assert check_landmarks(toy_run, lines) == []
    assert check_landmarks(imagenet(toy_run), lines[:10]) == []


def test_the_page_draws_the_loss_beside_its_reference(toy_run: TrainSettings) -> None:
    lines = [{"step": 50, "loss": 0.5, "mse": 0.4}, {"step": 100, "loss": 0.3, "mse": 0.2}]

    def names(settings: TrainSettings) -> list[str]:
        chart = draw_loss(lines, published_losses(settings), 0.35)
        assert chart is not None
        assert chart.finding.startswith("The noise error is 0.2 at step 100, below the 0.35 ")
        return re.findall(r"<text[^>]*>([^<]*)</text>", chart.panel.render())

    own = {"loss", "noise error", "variance alone", "Training steps"}
    assert own <= set(names(toy_run))
    assert not [name for name in names(toy_run) if "healthy" in name]
    assert own | {"healthy DiT-S/8", "healthy DiT-XL/2"} <= set(names(imagenet(toy_run)))


def test_a_run_that_diverged_is_drawn_as_far_as_it_has_numbers(toy_run: TrainSettings) -> None:
    none = published_losses(toy_run)
    whole = [{"step": step, "loss": 1 / step, "mse": 1 / step} for step in range(1, 1001)]
    broken = [*whole, {"step": 1001, "loss": math.nan, "mse": math.inf}]
    chart = draw_loss(broken, none, 1.0)
    assert chart is not None
    assert "is no number at step 1,001" in chart.finding
    (curve, _) = re.findall(r'<polyline class="curve[^>]*points="([^"]*)"', chart.panel.render())
    places = [tuple(map(float, place.split(","))) for place in curve.split()]
    assert 30 < len(places) <= CURVE_POINTS
    assert all(right[0] > left[0] and right[1] > left[1] for left, right in itertools.pairwise(places))
    assert draw_loss(broken[-1:], none, 1.0) is None
    assert draw_loss([], none, 1.0) is None


# --- in the report


def write_gate(folder: Path, step: int, status: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "gate.json"
    fields = {"variant": "DiT-Toy/2", "seed": 0, "step": step, "status": status, "reason": f"because of {status}"}
    write_json(path, {**fields, "checks": [], "page": "gate.html"})
    return path


def test_the_report_names_broken_runs_first(tmp_path: Path) -> None:
    fine = write_gate(tmp_path / "step-1", 1, "on track")
    broken = write_gate(tmp_path / "step-2", 2, "broken")
    undertrained = write_gate(tmp_path / "step-3", 3, "undertrained for this budget")
    report = tmp_path / "report.html"
    view = view_gates([undertrained, broken, fine], report, {})
    assert (view.level, [gate.step for gate in view.broken]) == ("red", [2])
    assert view.broken[0].page == "step-2/gate.html"
    amber = view_gates([fine, undertrained], report, {"DiT-Toy/2": "Toy/2"})
    assert (amber.level, amber.sentence) == ("amber", "Undertrained for this budget: 1 run of 1, of Toy/2.")
    assert view_gates([fine], report, {}).level == "green"
    assert view_gates([], report, {}).sentence.startswith("Gates are off")


def test_a_record_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "gate.json").write_text("{}")
    with pytest.raises(UserError, match=r"gate\.json is no record of a gate"):
        view_gates([tmp_path / "gate.json"], tmp_path / "report.html", {})


# --- in the pipeline


def test_every_stop_has_a_gate_unless_they_are_off(tmp_path: Path) -> None:
    gated = {"training.gates": "warn", "training.gate_steps": [5], "variants": ["DiT-Nano/2"]}
    jobs = plan(tmp_path, config=edited(tmp_path, gated))
    run = "results/tiny/DiT-Nano-2/seed-0"
    assert jobs["gate"] == {f"{run}/step-{step}/gate.json" for step in (5, 10, 20)}
    assert jobs["train_milestone"] == {f"{run}/step-{step}/ema.safetensors" for step in (5, 10, 20)}
    assert {Path(file).parts[4] for file in jobs["sample_part"]} == {"step-10", "step-20"}
    assert "gate" not in plan(tmp_path)


def test_samples_are_drawn_from_the_average(tmp_path: Path) -> None:
    step = "results/tiny/DiT-Nano-2/seed-0/step-20"
    run = snakemake(tmp_path, "--dry-run", f"{step}/guidance-1.0/samples/part-00000.npz")
    (inputs,) = re.findall(r"rule sample_part:\n    input: (.*)", run.stdout + run.stderr)
    assert f"{step}/ema.safetensors" in inputs
    assert "raw.safetensors" not in inputs


@pytest.mark.slow
def test_a_broken_study_stops_or_says_so(tmp_path: Path) -> None:
    """The example, shortened: nothing goes on from the first gate, unless gates only warn."""
    example = ROOT / "config" / "example-broken-ema.yaml"
    stopped = snakemake(tmp_path, "--cores", "2", config=edited(tmp_path, SHORT | {"training.gates": "stop"}, example))
    results = tmp_path / "results" / "example-broken-ema"
    run = results / "DiT-Nano-2" / "seed-0"
    assert stopped.returncode != 0
    assert "stopped by the gate at step 100: EMA moved from its start" in stopped.stderr
    assert (run / "step-100" / "gate.html").exists()
    assert not (run / "step-150").exists()

    warned = snakemake(tmp_path, "--cores", "2", config=edited(tmp_path, SHORT, example))
    assert warned.returncode == 0, warned.stderr
    (log,) = results.glob("logs/train/DiT-Nano-2_*step-150.log")
    assert "starts at step 100 of 150" in log.read_text()
    first_screen = (results / "report.html").read_text().split("<main")[0]
    assert "1 of 1 run is broken" in first_screen
    assert "EMA moved from its start" in first_screen
    assert "the EMA is hardly ever updated" in first_screen
