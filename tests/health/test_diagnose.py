"""diagnose names the cause of checkpoints that were broken on purpose."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from dit_scaling.cli import app
from dit_scaling.config.stages import TrainSettings
from dit_scaling.diffusion import samplers
from dit_scaling.diffusion.process import FlowSettings
from dit_scaling.health.check import Check
from dit_scaling.health.diagnose import Case, diagnose, name_cause
from dit_scaling.latents.autoencoder import open_vae
from dit_scaling.models import create_model
from dit_scaling.training.loop import train_to
from dit_scaling.training.runtime import Runtime
from dit_scaling.variants import SIZES, Size

STEPS = 300


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, toy_latents: Path, toy_vae: Path) -> Path:
    """Folder of a study with latents and autoencoder, as the pipeline lays them out."""
    folder = tmp_path_factory.mktemp("study")
    shutil.copytree(toy_latents.parent, folder / "latents")
    shutil.copytree(toy_vae.parent, folder / "vae")
    return folder


def train(study: Path, settings: TrainSettings, **changes: object) -> Path:
    """EMA weights of a short run, the raw ones beside them."""
    changed = settings.with_recipe(**{"batch_size": 16, "learning_rate": 4e-3, **changes})
    folder = train_to(
        changed, study / "latents" / "manifest.json", STEPS, study / "states", Runtime(device=torch.device("cpu"))
    )
    return folder.export_path(STEPS, "ema.safetensors")


def examine(
    study: Path, checkpoint: Path, page: Path, *, raw: bool = True, process: Mapping[str, str] | None = None
) -> list[str]:
    """Names of the failed checks, without that of the toy autoencoder, which is untrained and rightly named."""
    vae = open_vae(study / "vae" / "vae.json")
    beside = checkpoint.with_name("raw.safetensors") if raw else None
    case = Case(checkpoint, beside, vae, study / "latents" / "manifest.json", process=process or {})
    result = diagnose(case, 20, page)
    failed = [check.name for check in result.checks if not check.passed]
    assert failed.pop(0) == "VAE round trip of the latents"
    assert result.found == "broken"
    assert result.cause.startswith("VAE round trip of the latents is ")
    return failed


def test_a_healthy_checkpoint_has_no_fault_of_its_own(study: Path, toy_run: TrainSettings, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert set(examine(study, train(study, toy_run), page)) <= {"samples like data"}
    text = page.read_text()
    for part in (
        "raw weights",
        "EMA weights",
        "Denoising trajectory",
        "guidance 4",
        "Latents",
        "Timestep",
        "round trip",
    ):
        assert part in text


def test_an_ema_that_never_moved_is_named(study: Path, toy_run: TrainSettings, tmp_path: Path) -> None:
    checkpoint = train(study, toy_run, ema_decay=1.0, ema_ramp=False)
    assert examine(study, checkpoint, tmp_path / "page.html")[0] == "EMA predicts like the weights"


def test_the_sampler_is_named_before_what_it_causes(
    study: Path, toy_run: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = train(study, toy_run)
    monkeypatch.setattr(samplers, "fed_timesteps", lambda _, index, y: torch.full_like(y, index))
    failed = examine(study, checkpoint, tmp_path / "page.html")
    assert failed[0] == "timesteps of the sampler"
    assert "sampling against one-step prediction" in failed


def test_a_released_pt_without_raw_weights_that_predicts_nothing(study: Path, tmp_path: Path) -> None:
    released = tmp_path / "released.pt"
    torch.save(create_model("DiT-S/8", input_size=8, num_classes=3, in_channels=2).state_dict(), released)
    failed = examine(study, released, tmp_path / "page.html", raw=False)
    assert failed[0] == "EMA's noise error at timestep 950"
    assert "raw weights" not in (tmp_path / "page.html").read_text()


def test_a_released_sit_is_judged_by_the_velocity(
    study: Path, toy_run: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SiT's files have DiT's names and shapes and say nothing of the objective; taken for DDPM's they look broken."""
    monkeypatch.setitem(SIZES, "Toy", Size(depth=1, hidden_size=16, num_heads=2))
    trained = train(study, toy_run.model_copy(update={"diffusion": FlowSettings(objective="flow")}))
    released, page = tmp_path / "SiT-Toy-2.pt", tmp_path / "page.html"
    torch.save(load_file(trained), released)
    assert "EMA's noise error at timestep 950" in examine(study, released, page, raw=False)
    assert set(examine(study, released, page, raw=False, process={"objective": "flow"})) <= {"samples like data"}
    assert "EMA&#39;s velocity error at timestep" in page.read_text()


def test_what_a_checkpoint_says_of_its_process_stands(study: Path, toy_run: TrainSettings, tmp_path: Path) -> None:
    checkpoint = train(study, toy_run)
    of_study = ["--vae", str(study / "vae" / "vae.json"), "--latents", str(study / "latents" / "manifest.json")]
    result = CliRunner().invoke(
        app, ["diagnose", str(checkpoint), str(tmp_path / "page.html"), *of_study, "--objective", "flow"]
    )
    assert "says itself that its weights are of objective ddpm: leave out --objective flow" in str(result.exception)


def test_weights_that_exploded_are_named_and_not_the_autoencoder(
    study: Path, toy_run: TrainSettings, tmp_path: Path
) -> None:
    checkpoint, exploded = train(study, toy_run), tmp_path / "exploded.safetensors"
    with safe_open(checkpoint, "pt") as file:
        header = file.metadata()
    save_file({name: 1e3 * tensor for name, tensor in load_file(checkpoint).items()}, exploded, header)
    assert "sampled latents are finite" in examine(study, exploded, tmp_path / "page.html", raw=False)


def test_causes_stand_before_consequences() -> None:
    cause, effect, fine = (
        Check(name, "1", "2", passed, "why") for name, passed in (("a", False), ("b", False), ("c", True))
    )
    assert name_cause([cause, effect], effect).cause == "a is 1, expected 2: why."
    assert name_cause([fine], effect).found == "undertrained"
    assert name_cause([fine], fine).found == "no fault found"


def test_the_command_finds_the_study_and_prints_the_cause(study: Path, toy_run: TrainSettings, tmp_path: Path) -> None:
    checkpoint = study / "DiT-Toy-2" / "seed-0" / "step-300" / "ema.safetensors"
    checkpoint.parent.mkdir(parents=True)
    shutil.copy(train(study, toy_run), checkpoint)
    page = tmp_path / "page.html"
    result = CliRunner().invoke(app, ["diagnose", str(checkpoint), str(page), "--steps", "20"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("Broken. VAE round trip of the latents is ")
    assert page.exists()


def test_a_checkpoint_outside_any_study_needs_its_vae(tmp_path: Path) -> None:
    lonely = tmp_path / "weights.pt"
    lonely.touch()
    result = CliRunner().invoke(app, ["diagnose", str(lonely)])
    assert "Name it with --vae" in str(result.exception)
    result = CliRunner().invoke(app, ["diagnose", str(tmp_path / "nowhere.pt")])
    assert "nowhere.pt does not exist" in str(result.exception)


def test_a_released_pt_outside_any_study_is_diagnosed_with_what_is_named(study: Path, tmp_path: Path) -> None:
    lonely, page = tmp_path / "released.pt", tmp_path / "page.html"
    torch.save(create_model("DiT-S/8", input_size=8, num_classes=3, in_channels=2).state_dict(), lonely)
    command = ["diagnose", str(lonely), str(page), "--steps", "5", "--vae", str(study / "vae" / "vae.json")]
    result = CliRunner().invoke(app, command)
    assert "Name it with --latents" in str(result.exception)
    result = CliRunner().invoke(app, [*command, "--latents", str(study / "latents" / "manifest.json")])
    assert result.exit_code == 0, result.output
    assert "EMA&#39;s noise error at timestep 950" in page.read_text()
