"""Prices from the table of measured rates: its rows come back, and the model lies between what is known."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from dit_scaling.cli import app
from dit_scaling.common.errors import UserError
from dit_scaling.config import load_study
from dit_scaling.config.study import Study
from dit_scaling.plan.bench import STAGES
from dit_scaling.plan.command import plan_study, tell_plan
from dit_scaling.plan.price import devices_as_measured, known_device, price_of
from dit_scaling.plan.rates import REFERENCE, measured_rates, rates_of, written_by
from dit_scaling.variants import TRAINING_PASSES, count_gflops, parse_variant

CONFIGS = Path(__file__).parents[2] / "config"


def paper_study(**changes: object) -> Study:
    study = load_study(CONFIGS / "imagenet256.yaml")
    return study.model_copy(update={"training": study.training.model_copy(update=changes)})


def test_rows_are_named_as_the_bench_names_them() -> None:
    assert {row.stage for row in measured_rates()} <= {*STAGES, "decode"}


@pytest.mark.parametrize("row", [row for row in measured_rates() if row.stage == "train"], ids=str)
def test_a_row_of_training_comes_back_from_the_table_and_from_the_model(row: object) -> None:
    """Two rows make the model's two unknowns, so that it meets both."""
    from dit_scaling.plan.rates import Measured

    assert isinstance(row, Measured)
    rates = rates_of(row.device, row.precision, row.compiled, "tf32")
    assert rates.measured[row.variant] * row.batch * row.rate == pytest.approx(1)
    variant, images = parse_variant(row.variant), TRAINING_PASSES * row.batch
    seconds = rates.training.seconds(2e9 * count_gflops(variant) * images, written_by(variant, 32) * images)
    assert seconds * row.rate == pytest.approx(1, rel=1e-3)


def test_the_models_rate_of_arithmetic_is_below_the_data_sheets_peak() -> None:
    for precision, peak in {"bfloat16": 989e12, "tf32": 494.5e12, "float32": 67e12}.items():
        for compiled in (False, True):
            assert 0.2 * peak < rates_of(REFERENCE, precision, compiled, precision).training.rate < peak


def test_samples_and_latents_are_priced_as_measured() -> None:
    study, devices = paper_study(), devices_as_measured("h200", 1, paper_study())
    jobs = {job.name: job for job in plan_study(study).jobs if job.stage in ("sample", "latents")}
    sampled = devices.seconds(replace(jobs["DiT-XL/2 seed 0 step 400,000"], decoding=0.0))
    assert sampled == pytest.approx(50_000 / 3.18, rel=1e-6)
    assert devices.seconds(jobs["latents"]) == pytest.approx(2 * 1_281_167 / 424, rel=1e-6)


def test_a_training_is_priced_at_the_measured_rate() -> None:
    study = paper_study(precision="bfloat16", compile=True, milestones=())
    devices = devices_as_measured("h200", 1, study)
    job = next(job for job in plan_study(study).jobs if job.name.startswith("DiT-XL/2 seed 0 to step"))
    assert devices.seconds(replace(job, saving=None)) == pytest.approx(400_000 * 2 / 4.67)


def test_other_devices_are_slower_in_proportion_to_their_data_sheets() -> None:
    h200, h100, a100 = (rates_of(name, "tf32", False, "tf32") for name in ("H200", "H100", "A100"))
    assert h100.training.rate == pytest.approx(h200.training.rate)
    assert h100.training.traffic == pytest.approx(h200.training.traffic * 3.35 / 4.8)
    assert a100.training.rate == pytest.approx(h200.training.rate * 156 / 494.5)
    assert "scaled by data sheets" in a100.source
    assert "fast-DiT" in rates_of("A100", "bfloat16", False, "tf32").source


def test_small_parts_cost_their_launches() -> None:
    """Eight parts of 32 make S/8 eight times as long where the host launches every operator."""
    study = paper_study()
    parts = study.resources.model_copy(update={"micro_batch": 32})
    hours = []
    for some in (study, study.model_copy(update={"resources": parts})):
        devices = devices_as_measured("h200", 1, some)
        hours.append(sum(devices.seconds(job) for job in plan_study(some).jobs if job.variant == "DiT-S/8" and job.end))
    assert hours[0] / 3600 == pytest.approx(1, rel=0.1)
    assert hours[1] / 3600 == pytest.approx(8, rel=0.1)


def test_a_measured_rate_is_of_the_latents_that_it_was_measured_on() -> None:
    """DiT-XL/4 on latents of 64 x 64 is DiT-XL/2 on latents of 32 x 32, and DiT-XL/2 there costs 4.4 times as much."""
    study, data = paper_study(milestones=()), paper_study().data.model_copy(update={"image_size": 512})
    large = study.model_copy(update={"data": data})

    def hours(some: Study, name: str) -> float:
        devices = devices_as_measured("h200", 1, some)
        (job,) = (job for job in plan_study(some).jobs if job.stage == "train" and job.variant == name)
        return devices.seconds(replace(job, saving=None)) / 3600

    assert hours(study, "DiT-XL/2") == pytest.approx(400_000 * 2 / 1.62 / 3600)
    assert hours(large, "DiT-XL/4") == pytest.approx(hours(study, "DiT-XL/2"), rel=0.01)
    assert hours(large, "DiT-XL/2") == pytest.approx(4.4 * hours(study, "DiT-XL/2"), rel=0.1)
    assert "as measured" not in devices_as_measured("h200", 1, large).source
    assert "DiT-XL/2 as measured" in devices_as_measured("h200", 1, study).source


def test_ranks_do_not_share_the_launches_of_a_step() -> None:
    """Every rank launches all of S/8, so that eight take as long as one, and cost eight times as much."""
    study = paper_study(milestones=())
    study = study.model_copy(update={"variants": ("DiT-S/8",)})
    ranks = study.model_copy(update={"resources": study.resources.model_copy(update={"gpus_per_node": 8})})
    walls = []
    for some in (study, ranks):
        devices = devices_as_measured("h200", 8, some)
        jobs = [replace(job, saving=None) for job in plan_study(some).jobs if job.stage == "train"]
        walls.append(price_of(jobs, devices).wall_seconds)
        assert "Shorter:" not in tell_plan(some, devices, None)
    assert walls[1] == pytest.approx(walls[0], rel=0.1)


@pytest.mark.parametrize(
    ("asked", "preset"),
    [("h200", "h200"), ("H100", "h100-80gb"), ("a100", "a100-80gb"), ("a100-4", "a100-40gb"), ("NVIDIA H200", "h200")],
)
def test_a_device_has_any_name_that_means_one(asked: str, preset: str) -> None:
    assert known_device(asked) == preset


@pytest.mark.parametrize("asked", ["h", "v100", "", "a100-"])
def test_other_names_are_refused(asked: str) -> None:
    with pytest.raises(UserError, match="choose one of"):
        known_device(asked)


def test_ranks_that_shorten_a_study_are_proposed_and_money_is_counted() -> None:
    study = paper_study()
    text = tell_plan(study, devices_as_measured("h200", 8, study), None, 2.5)
    assert "with resources.gpus_per_node 1, and 46 h 56 min with 4" in text
    hours = float(next(line.split()[2] for line in text.splitlines() if line.startswith("together")))
    money = float(text.split("At 2.5 a device-hour: ")[1].split(".\n")[0].replace(",", ""))
    assert money == pytest.approx(2.5 * hours, rel=2e-3)
    assert "Shorter:" not in tell_plan(study, devices_as_measured("h200", 1, study), None)


def test_a_study_that_is_extended_is_priced_from_where_it_goes_on(tmp_path: Path) -> None:
    import yaml

    short = paper_study(steps=10_000, milestones=(), gate_steps=())
    config = yaml.safe_load((CONFIGS / "imagenet256.yaml").read_text())
    config["training"] |= {"steps": 10_000, "milestones": [], "gate_steps": []}
    (tmp_path / "short.yaml").write_text(yaml.safe_dump(config))
    longer = paper_study(steps=20_000, milestones=(), gate_steps=())
    devices = devices_as_measured("h200", 1, longer)

    def hours(text: str) -> float:
        return float(next(line.split()[2] for line in text.splitlines() if line.startswith("train")))

    rest = hours(tell_plan(longer, devices, tmp_path / "short.yaml"))
    assert rest == pytest.approx(hours(tell_plan(short, devices, None)), rel=0.02)
    assert rest == pytest.approx(hours(tell_plan(longer, devices, None)) / 2, rel=0.05)


@pytest.mark.parametrize(
    ("name", "device", "gpu", "priced"),
    [
        ("config.yaml", "cpu", True, "x CPU process"),
        ("config.yaml", "auto", False, "x CPU process"),
        ("config.yaml", "auto", True, "8 x a100"),
        ("imagenet256.yaml", "auto", False, "8 x a100"),
    ],
)
def test_a_study_for_the_cpu_is_priced_for_this_machine(
    name: str, device: str, gpu: bool, priced: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dit_scaling.plan import price, throughput

    monkeypatch.setattr(throughput, "step_seconds", lambda *_: 0.1)
    monkeypatch.setattr(price, "driver_is_here", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    study = load_study(CONFIGS / name)
    placed = study.model_copy(update={"resources": study.resources.model_copy(update={"device": device})})
    monkeypatch.setattr("dit_scaling.config.load_study", lambda *_: placed)
    run = CliRunner().invoke(app, ["plan", "--configfile", str(CONFIGS / name)])
    assert priced in run.output, run.output
    assert ("--device h200 prices one" in run.output) == (priced == "x CPU process" and device == "auto")


def test_a_way_is_measured_once() -> None:
    ways = [(row.device, row.stage, row.variant, row.precision, row.compiled) for row in measured_rates()]
    assert len(set(ways)) == len(ways)


def test_compiled_sampling_is_priced_as_measured_once_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    study = paper_study()
    fast = study.sampling.model_copy(update={"precision": "bfloat16", "compile": True})
    study = study.model_copy(update={"sampling": fast})
    jobs = [replace(job, decoding=0.0) for job in plan_study(study).jobs if job.name.startswith("DiT-XL/2 seed 0")]
    sampling = next(job for job in jobs if job.stage == "sample")
    losses = next(job for job in jobs if job.stage == "losses")

    def seconds() -> tuple[float, float]:
        devices = devices_as_measured("h200", 1, study)
        return devices.seconds(sampling), devices.seconds(losses)

    before = seconds()
    assert before[0] == pytest.approx(50_000 / 5.53, rel=1e-6)
    eager = next(row for row in measured_rates() if (row.stage, row.precision) == ("sample", "bfloat16"))
    table = (*measured_rates(), replace(eager, compiled=True, rate=7.0))
    monkeypatch.setattr("dit_scaling.plan.rates.measured_rates", lambda: table)
    after = seconds()
    assert after[0] == pytest.approx(50_000 / 7.0, rel=1e-6)
    assert after[1] == before[1], "held-out losses are not compiled"
    assert "bfloat16, compiled" in devices_as_measured("h200", 1, study).source
