"""Exported folders against diffusers' own pipeline, which is nobody's but theirs."""

import json
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline
from numpy.typing import NDArray
from torch import Tensor
from typer.testing import CliRunner

from dit_scaling.cli import app
from dit_scaling.common.errors import UserError
from dit_scaling.diffusion.process import PAPER_PROCESS, DiffusionSettings, create_diffusion
from dit_scaling.diffusion.samplers import SamplingOptions
from dit_scaling.diffusion.schedule import SCHEDULES
from dit_scaling.latents.autoencoder import open_vae
from dit_scaling.models import DiT, create_model
from dit_scaling.models.checkpoints import CheckpointHeader, save_model
from dit_scaling.models.export import export_pipeline, load_pipeline
from dit_scaling.variants import Variant
from oracles import randomize

LABELS = [1, 0, 2]
STEPS = 10


def make_dit(num_classes: int) -> DiT:
    variant = Variant(size="Toy", patch=2, depth=2, hidden_size=32, num_heads=2)
    return randomize(create_model(variant, input_size=8, num_classes=num_classes, in_channels=2), std=0.05).eval()


def save(model: DiT, path: Path, diffusion: DiffusionSettings = PAPER_PROCESS) -> Path:
    header = CheckpointHeader(
        variant=model.variant,
        input_size=model.input_size,
        num_classes=model.num_classes,
        in_channels=model.in_channels,
        settings_digest="toy",
        step=1,
        provenance={},
        diffusion=diffusion,
    )
    save_model(path, model, header)
    return path


@pytest.fixture(scope="module")
def model() -> DiT:
    return make_dit(num_classes=3)


@pytest.fixture(scope="module")
def folder(model: DiT, toy_vae: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("export")
    export_pipeline(save(model, root / "ema.safetensors"), root / "pipeline", str(toy_vae))
    return root / "pipeline"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("an export asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def sampled_by(pipeline: DiTPipeline, guidance_scale: float) -> NDArray[np.float32]:
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    images: NDArray[np.float32] = pipeline(
        LABELS, guidance_scale, generator, num_inference_steps=STEPS, output_type="np"
    ).images
    return images


def sampled_by_us(
    model: DiT, vae_record: Path, guidance_scale: float, process: DiffusionSettings = PAPER_PROCESS
) -> NDArray[np.float32]:
    noise = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    how = SamplingOptions("ddim", STEPS, guidance_scale, guidance_channels=None)
    latents = create_diffusion(process).sample(model, noise, torch.tensor(LABELS), how)
    vae = open_vae(vae_record)
    with torch.no_grad():
        pixels: Tensor = vae.decode(latents / vae.config.scaling_factor).sample
    images: NDArray[np.float32] = (pixels / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    return images


@pytest.mark.parametrize("guidance_scale", [1.0, 2.5])
def test_the_loaded_pipeline_samples_as_we_do(model: DiT, folder: Path, toy_vae: Path, guidance_scale: float) -> None:
    theirs, ours = sampled_by(load_pipeline(folder), guidance_scale), sampled_by_us(model, toy_vae, guidance_scale)
    assert ours.std() > 0.01, "an image, not a constant"
    np.testing.assert_allclose(theirs, ours, atol=2e-5)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "listed"])
def test_other_processes_are_exported_as_they_are(
    toy_vae: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schedule: str
) -> None:
    """The third has no name in diffusers, and goes into the folder beta by beta."""
    monkeypatch.setitem(SCHEDULES, "listed", replace(SCHEDULES["cosine"], name="listed", diffusers=None))
    process, model = DiffusionSettings(schedule=schedule, num_timesteps=500), make_dit(num_classes=3)
    export_pipeline(save(model, tmp_path / "ema.safetensors", process), tmp_path / "pipeline", str(toy_vae))
    theirs, ours = sampled_by(load_pipeline(tmp_path / "pipeline"), 1.0), sampled_by_us(model, toy_vae, 1.0, process)
    np.testing.assert_allclose(theirs, ours, atol=1e-3 if schedule != "linear" else 2e-5)
    assert np.abs(ours - sampled_by_us(model, toy_vae, 1.0)).max() > 1e-3, "another process, another image"


def test_plain_diffusers_loads_and_samples_it_with_its_own_frequencies(model: DiT, folder: Path, toy_vae: Path) -> None:
    pipeline = DiTPipeline.from_pretrained(folder)
    assert isinstance(pipeline.scheduler, DDIMScheduler)
    assert isinstance(pipeline.vae, AutoencoderKL)
    difference = np.abs(sampled_by(pipeline, 1.0) - sampled_by_us(model, toy_vae, 1.0)).max()
    assert 1e-4 < difference < 0.5, "near, but not the same: that is why there is load_pipeline"


def test_plain_diffusers_guides_1000_classes(toy_vae: Path, tmp_path: Path) -> None:
    """With 1000 classes the hard-coded null class is right, and only the frequencies differ."""
    model = make_dit(num_classes=1000)
    export_pipeline(save(model, tmp_path / "ema.safetensors"), tmp_path / "pipeline", str(toy_vae))
    pipeline = DiTPipeline.from_pretrained(tmp_path / "pipeline")
    assert np.abs(sampled_by(pipeline, 2.5) - sampled_by_us(model, toy_vae, 2.5)).max() < 0.5
    np.testing.assert_allclose(
        sampled_by(load_pipeline(tmp_path / "pipeline"), 2.5), sampled_by_us(model, toy_vae, 2.5), atol=2e-5
    )


def test_label_1000_of_more_classes_is_not_taken_for_the_null_class(toy_vae: Path, tmp_path: Path) -> None:
    checkpoint = save(make_dit(num_classes=1001), tmp_path / "ema.safetensors")
    export_pipeline(checkpoint, tmp_path / "pipeline", str(toy_vae))
    with pytest.raises(UserError, match="1001 classes"):
        load_pipeline(tmp_path / "pipeline")


def test_a_given_autoencoder_goes_in_untouched(model: DiT, toy_vae: Path, tmp_path: Path) -> None:
    given = toy_vae.parent / "autoencoder"
    export_pipeline(save(model, tmp_path / "ema.safetensors"), tmp_path / "pipeline", str(given))
    ours, theirs = (AutoencoderKL.from_pretrained(path) for path in (tmp_path / "pipeline" / "vae", given))
    for name, weight in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], weight), name


def test_folders_that_hold_something_are_left_alone(model: DiT, toy_vae: Path, tmp_path: Path) -> None:
    checkpoint = save(model, tmp_path / "ema.safetensors")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("words")
    with pytest.raises(UserError, match="precious is there already"):
        export_pipeline(checkpoint, tmp_path / "precious", str(toy_vae))
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "words"


def test_an_autoencoder_of_other_latents_is_refused_and_nothing_is_left(toy_vae: Path, tmp_path: Path) -> None:
    variant = Variant(size="Toy", patch=2, depth=1, hidden_size=16, num_heads=2)
    checkpoint = save(create_model(variant, input_size=8, num_classes=3, in_channels=4), tmp_path / "ema.safetensors")
    with pytest.raises(UserError, match=r"4 channels.*have 2\..*--vae"):
        export_pipeline(checkpoint, tmp_path / "pipeline", str(toy_vae))
    assert list(tmp_path.iterdir()) == [checkpoint]


@pytest.mark.parametrize("damage", ["no folder", "no weights"])
def test_what_is_no_exported_pipeline_is_refused(tmp_path: Path, damage: str) -> None:
    if damage == "no weights":
        (tmp_path / "broken").mkdir()
        (tmp_path / "broken" / "model_index.json").write_text(json.dumps({"_class_name": "DiTPipeline"}))
    with pytest.raises(UserError, match=r"broken (holds no exported pipeline|cannot be loaded)"):
        load_pipeline(tmp_path / "broken")


def test_the_command_finds_the_vae_of_the_checkpoints_study(model: DiT, toy_vae: Path, tmp_path: Path) -> None:
    study, folder = tmp_path / "study", tmp_path / "pipeline"
    checkpoint = save(model, study / "DiT-Toy-2" / "seed-0" / "step-1" / "ema.safetensors")
    orphan = CliRunner().invoke(app, ["export", str(checkpoint), str(folder)])
    assert isinstance(orphan.exception, UserError)
    assert "--vae" in str(orphan.exception)
    shutil.copytree(toy_vae.parent, study / "vae")
    assert CliRunner().invoke(app, ["export", str(checkpoint), str(folder)]).exit_code == 0
    np.testing.assert_allclose(sampled_by(load_pipeline(folder), 1.0), sampled_by_us(model, toy_vae, 1.0), atol=2e-5)
