"""`dit-scaling bench` on a CPU with a tiny variant."""

import json
import re
from dataclasses import fields

import pytest
import torch
from typer.testing import CliRunner

from dit_scaling.cli import app
from dit_scaling.common.errors import UserError
from dit_scaling.config import load_study
from dit_scaling.config.recipe import Precision, Recipe
from dit_scaling.diffusion.process import PAPER_PROCESS, create_diffusion
from dit_scaling.models import create_model
from dit_scaling.plan import bench
from dit_scaling.plan.bench import PUBLISHED, Setting, measure_training, published_tflops, setting_of
from dit_scaling.plan.bench_stages import measure_autoencoder, measure_sampling
from dit_scaling.plan.network_costs import Autoencoder
from dit_scaling.plan.rates import Measured
from dit_scaling.training.batches import Batch
from dit_scaling.training.prefetch import ahead
from dit_scaling.training.step import TrainingStep
from dit_scaling.variants import Size, count_gflops, parse_variant
from pipeline import TINY as TINY_STUDY

CPU = torch.device("cpu")
TINY = parse_variant("DiT-Toy/4", {"Toy": Size(depth=1, hidden_size=16, num_heads=2)})
SETTING = Setting(CPU, Recipe(batch_size=2), input_size=8, in_channels=2, num_classes=3)


@pytest.fixture(autouse=True)
def _small_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bench.GEMM_SIDE, "cpu", 32)


def draw(count: int = 2) -> Batch:
    rng = torch.Generator().manual_seed(0)
    x0, noise = torch.randn((2, count, 2, 8, 8), generator=rng)
    return Batch(x0, torch.arange(1, count + 1), torch.zeros(count, dtype=torch.long), noise)


def test_throughput_follows_from_the_rate_of_steps() -> None:
    found = measure_training(TINY, SETTING, seconds=0.05)
    assert found.variant == "DiT-Toy/4"
    assert found.images_per_second == pytest.approx(2 * found.steps_per_second)
    operations = 6e9 * count_gflops(TINY, 8, 2) * 2
    assert found.tflops == pytest.approx(operations * found.steps_per_second / 1e12)
    assert found.memory > 2**20


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_step_is_adamw_and_ema_on_the_hybrid_loss(precision: Precision) -> None:
    torch.manual_seed(0)
    recipe = Recipe(precision=precision)
    step = TrainingStep(create_model(TINY, 8, 3, 2), recipe, create_diffusion(PAPER_PROCESS))
    before = step.weights.clone()
    loss, mse, vb, norm = step(0, [draw()])
    torch.testing.assert_close(loss, mse + vb)
    assert norm > 0
    moved = (step.weights - before).abs()
    assert moved.max() == pytest.approx(recipe.learning_rate, rel=0.05)  # AdamW's first step, weight decay 0
    kept = recipe.ema_decay * before + (1 - recipe.ema_decay) * step.weights
    torch.testing.assert_close(step.ema, kept)


def test_on_a_cpu_batches_pass_as_they_are() -> None:
    batches = [draw(), draw()]
    assert list(ahead(iter(batches), CPU)) == batches


def test_fast_dits_rate_is_a_quarter_of_an_a100() -> None:
    known = PUBLISHED[0]
    assert (known.variant, known.batch_size, known.steps_per_second) == ("DiT-XL/2", 128, 0.84)
    assert published_tflops(known) == pytest.approx(118.62e9 * 6 * 128 * 0.84 / 1e12, rel=1e-3)


def test_the_command_prints_rates_beside_the_published_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "parse_variant", lambda name: TINY if "Toy" in name else parse_variant(name))
    monkeypatch.setattr(bench, "measure_training", lambda variant, _setting, _seconds: found(variant.name))
    answer = CliRunner().invoke(
        app,
        [
            "bench",
            "DiT-Toy/4",
            "--device",
            "cpu",
            "--batch-size",
            "2",
            "--seconds",
            "0.05",
            "--eager",
            "--stage",
            "train",
        ],
    )
    assert answer.exit_code == 0, answer.output
    assert "float32, batch 2, eager" in answer.output
    assert re.search(r"DiT-Toy/4 +3 +6 +0\.5 +- +\d+\.\d%", answer.output)
    assert "fast-DiT: DiT-XL/2, batch 128, one NVIDIA A100: 0.84 steps/s" in answer.output
    assert "24.5% of peak" in answer.output


def found(name: str) -> bench.Throughput:
    return bench.Throughput(name, steps_per_second=3.0, images_per_second=6.0, tflops=0.5, memory=2**30)


def test_utilisation_is_told_where_the_data_sheet_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "describe_device", lambda _device: "NVIDIA A100-SXM4-80GB")
    text = bench.describe_throughput(
        Setting(CPU, Recipe(batch_size=2, precision="tf32", compile=True)), gemm=100.0, found=[found("DiT-S/2")]
    )
    assert "data sheet 156 TFLOP/s" in text
    assert re.search(r"DiT-S/2 .* 0\.3% +0\.5%", text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--precision", "float16"], "float32, tf32, bfloat16"),
        (["--batch-size", "0"], "--batch-size"),
        (["DiT-Q/2"], "size 'Q'"),
        (["--device", "cuda"], "no CUDA device"),
    ],
)
def test_bad_arguments_end_in_a_message(arguments: list[str], message: str) -> None:
    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    answer = CliRunner().invoke(app, ["bench", *arguments])
    assert isinstance(answer.exception, UserError)
    assert message in str(answer.exception)


def test_sampling_and_the_autoencoder_are_measured_as_the_stages_run_them() -> None:
    rate = measure_sampling(TINY, (2, 8, 8), 3, 2, "float32", CPU, 0.05)
    assert 0 < rate < 1e6
    encoded, decoded = measure_autoencoder(Autoencoder(1, (4, 4), 2, 1, False), 16, 2, CPU, 0.05)
    assert min(encoded, decoded) > 1


def test_a_studys_own_jobs_are_measured_and_told_as_rows_of_the_table() -> None:
    study = load_study(TINY_STUDY)
    run = ["bench", "--configfile", str(TINY_STUDY), "--device", "cpu", "--seconds", "0.02", "--json"]
    answer = CliRunner().invoke(app, run)
    assert answer.exit_code == 0, answer.output
    rows = json.loads(answer.output)
    assert {(row["stage"], row["variant"]) for row in rows} == {
        *((stage, name) for stage in ("train", "sample") for name in study.variants),
        ("encode", "the study's VAE"),
        ("decode", "the study's VAE"),
    }
    columns = [field.name for field in fields(Measured)]
    for row in rows:
        assert list(row) == columns
        assert row["torch"] == torch.__version__
        assert row["rate"] > 0
    trained = next(row for row in rows if row["stage"] == "train")
    assert (trained["batch"], trained["precision"]) == (study.training.batch_size, study.training.precision)


def test_a_step_is_measured_in_the_parts_that_the_study_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    study = load_study(TINY_STUDY)
    parts = study.model_copy(update={"resources": study.resources.model_copy(update={"micro_batch": 4})})
    taken = list[int]()
    take = TrainingStep.__call__

    def counted(self: TrainingStep, step: int, some: list[Batch]) -> torch.Tensor:
        taken.extend(len(part.t) for part in some)
        return take(self, step, some)

    monkeypatch.setattr(TrainingStep, "__call__", counted)
    measure_training(study.variant(study.variants[0]), setting_of(parts, CPU), 0.01)
    assert set(taken) == {4}


def test_the_large_product_is_of_random_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = list[torch.Tensor]()
    multiply = torch.mm

    def kept(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        seen.append(a)
        return multiply(a, b, out=out)

    monkeypatch.setattr(torch, "mm", kept)
    assert bench.measure_gemm(CPU, "float32", 0.01) > 0
    assert seen[0].std() > 0.5


def test_the_card_and_torch_are_named() -> None:
    text = bench.describe_throughput(SETTING, gemm=1.0, found=[])
    assert f"torch {torch.__version__}" in text
    assert text.startswith(bench.describe_device(CPU))
