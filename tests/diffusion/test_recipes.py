"""The recipes of CONTRIBUTING: a throw-away row in one table goes from the config to samples without another edit."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from dit_scaling.common.errors import UserError
from dit_scaling.config import parse_study
from dit_scaling.config.schema import schema_text
from dit_scaling.config.stages import SampleSettings, TrainSettings
from dit_scaling.diffusion.process import DiffusionSettings, create_diffusion
from dit_scaling.diffusion.samplers import SAMPLERS, ddim
from dit_scaling.diffusion.schedule import SCHEDULES, Schedule
from dit_scaling.health.preflight.sampler_checks import check_sampler
from dit_scaling.models.checkpoints import load_checkpoint
from dit_scaling.paper.deviations import compare_protocol
from dit_scaling.sampling.images import read_samples
from dit_scaling.sampling.parts import PartFiles, sample_part
from dit_scaling.training.loop import train_to
from dit_scaling.training.runtime import Runtime

CPU = torch.device("cpu")
STUDY = {
    "study": "recipe",
    "data": {"source": "mnist", "held_out": 100},
    "vae": {
        "source": "trained",
        "block_channels": [8, 8, 8],
        "latent_channels": 2,
        "steps": 10,
        "batch_size": 8,
        "learning_rate": 1e-3,
    },
    "variants": ["DiT-S/2"],
    "training": {"steps": 10},
    "sampling": {"num_samples": 64, "steps": 20},
    "metrics": {"extractor": {"kind": "classifier", "steps": 10}, "kid_subset_size": 10},
}


def quadratic(num_timesteps: int) -> torch.Tensor:
    """Betas whose square roots are evenly spaced, as latent diffusion has them."""
    return torch.linspace(0.01, 0.15, num_timesteps, dtype=torch.float64).square()


def protocol(name: str, **changes: object) -> tuple[bool, str]:
    """Whether a row of the protocol table is the paper's, and what it says of the study."""
    (row,) = (row for row in compare_protocol(parse_study(STUDY | changes), None) if row.setting == name)
    return row.same, row.ours


def train_and_sample(
    process: DiffusionSettings, sampler: str, training: TrainSettings, latents: Path, vae: Path, folder: Path
) -> None:
    """Preflight's closed forms, a few steps, and samples of their weights."""
    sampling = SampleSettings(
        num_samples=4,
        parts=1,
        sampler=sampler,
        steps=20,
        guidance_scale=1.5,
        guidance_channels=3,
        labels="balanced",
        seed=0,
        num_classes=training.num_classes,
        image_channels=1,
        checkpoint="toy",
        diffusion=process,
    )
    assert [check for check in check_sampler(create_diffusion(process), sampling) if not check.passed] == []
    settings = training.model_copy(update={"diffusion": process})
    assert TrainSettings.parse(settings.canonical()) == settings
    ema = train_to(settings, latents, 5, folder / "states", Runtime(device=CPU)).export_path(5, "ema.safetensors")
    assert load_checkpoint(ema)[1].diffusion == process
    samples = folder / "part.npz"
    sample_part(sampling, 0, PartFiles(ema, vae, samples, folder / "first.npz", folder / "grid.png"), 4, CPU, 60.0)
    assert np.array_equal(read_samples(samples).labels, [0, 1, 2, 0])


def test_a_schedule_is_added_in_one_place(
    toy_latents: Path, toy_vae: Path, toy_run: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"diffusion\.schedule: .*'linear', 'cosine' or 'zero-snr'"):
        protocol("noise schedule", diffusion={"schedule": "quadratic"})
    row = Schedule("quadratic", "quadratic betas", quadratic, fewest=2, sampled=lambda total: total, note="a recipe")
    monkeypatch.setitem(SCHEDULES, row.name, row)
    assert protocol("noise schedule", diffusion={"schedule": "quadratic", "num_timesteps": 600}) == (
        False,
        "quadratic betas, 600 timesteps",
    )
    assert '"quadratic"' in schema_text()
    process = DiffusionSettings(schedule="quadratic", num_timesteps=600)
    train_and_sample(process, "ddpm", toy_run, toy_latents, toy_vae, tmp_path)


def test_a_sampler_is_added_in_one_place(
    toy_latents: Path, toy_vae: Path, toy_run: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampling = {"num_samples": 64, "steps": 20, "sampler": "eta-1"}
    with pytest.raises(UserError, match=r"sampling\.sampler: .*'ddpm', 'ddim', 'dpm-solver', 'euler'"):
        protocol("sampler", sampling=sampling)
    row = replace(
        SAMPLERS["ddim"],
        name="eta-1",
        label="DDIM, eta 1",
        walk=partial(ddim, eta=1.0),
        stochastic=True,
        note="a recipe",
    )
    monkeypatch.setitem(SAMPLERS, row.name, row)
    assert protocol("sampler", sampling=sampling) == (False, "DDIM, eta 1, 20 steps")
    assert parse_study(STUDY | {"sampling": sampling}).sampling.folder(1.0) == "eta-1/guidance-1.0"
    assert '"eta-1"' in schema_text()
    train_and_sample(DiffusionSettings(), "eta-1", toy_run, toy_latents, toy_vae, tmp_path)
