"""What lower precision changes: less than other seeds do."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dit_scaling.config import load_study
from dit_scaling.config.stages import TrainSettings
from dit_scaling.config.vae_settings import Latents
from dit_scaling.diffusion.process import create_diffusion
from dit_scaling.latents.autoencoder import encode_moments, open_vae
from dit_scaling.metrics import frechet_distance
from dit_scaling.models import Network
from dit_scaling.models.checkpoints import load_model
from dit_scaling.paper.deviations import compare_protocol
from dit_scaling.sampling.bfloat16 import InBfloat16
from dit_scaling.sampling.parts import sample_latents
from dit_scaling.sampling.sample_noise import SampleNoise
from dit_scaling.training.loop import train_to
from dit_scaling.training.runtime import Runtime
from toy_sampling import TOY_SAMPLING

CPU = torch.device("cpu")
COUNT = 256
CONFIGS = Path(__file__).parents[2] / "config"
SETTINGS = TOY_SAMPLING.model_copy(update={"num_samples": COUNT, "steps": 20})


def sampled(model: Network, precision: str, seed: int) -> Tensor:
    settings = SETTINGS.model_copy(update={"precision": precision})
    noise = SampleNoise(seed, np.arange(COUNT), (2, 8, 8), CPU)
    return sample_latents(create_diffusion(settings.diffusion), model, settings, noise, torch.arange(COUNT) % 3)


def distance(first: Tensor, second: Tensor) -> float:
    """Frechet distance of the latents' means over 2 x 2 places."""
    a, b = (torch.nn.functional.avg_pool2d(x, 2).flatten(1).double().numpy() for x in (first, second))
    return frechet_distance(a.mean(0), np.cov(a.T), b.mean(0), np.cov(b.T))


def test_bfloat16_changes_samples_by_less_than_other_seeds_do(
    toy_run: TrainSettings, toy_latents: Path, tmp_path: Path
) -> None:
    folder = train_to(toy_run, toy_latents, 300, tmp_path, Runtime(device=CPU))
    model = load_model(folder.export_path(300, "ema.safetensors"))
    exact, coarse, others = sampled(model, "float32", 0), sampled(model, "bfloat16", 0), sampled(model, "float32", 1)
    assert exact.dtype == coarse.dtype == torch.float32
    assert not torch.equal(exact, coarse)
    assert distance(exact, coarse) < 0.1 * distance(exact, others)


class Watched(torch.nn.Module):
    """Notes the precision of what it is given and of its products."""

    num_classes = 3

    def __init__(self) -> None:
        super().__init__()
        self.seen = set[torch.dtype]()

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        del t, y
        self.seen.update((x.dtype, (x.flatten(1) @ x.flatten(1).T).dtype))
        return torch.cat([x, torch.zeros_like(x)], dim=1).bfloat16()


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_the_network_computes_in_bfloat16_and_the_sampler_in_float32(guidance: float) -> None:
    settings = SETTINGS.model_copy(update={"precision": "bfloat16", "steps": 3, "guidance_scale": guidance})
    noise, labels = SampleNoise(0, np.arange(4), (2, 8, 8), CPU), torch.zeros(4, dtype=torch.long)
    model = Watched()
    found = sample_latents(create_diffusion(settings.diffusion), model, settings, noise, labels)
    assert model.seen == {torch.float32, torch.bfloat16}
    assert found.dtype == torch.float32
    assert InBfloat16(model)(torch.ones(1, 2, 8, 8), labels[:1], labels[:1]).dtype == torch.float32


@pytest.mark.parametrize(("precision", "least", "most"), [("float16", 1e-6, 5e-3), ("bfloat16", 1e-4, 3e-2)])
def test_latents_in_lower_precision_differ_by_its_rounding(
    toy_vae: Path, precision: str, least: float, most: float
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 1), dtype=np.uint8)
    vae = open_vae(toy_vae)
    exact, coarse = encode_moments(vae, images), encode_moments(vae, images, precision)
    assert coarse.dtype == np.float32
    assert least < np.linalg.norm(coarse - exact) / np.linalg.norm(exact) < most


def test_precision_of_latents_is_in_their_digest_and_its_default_is_not() -> None:
    assert "precision" not in Latents().canonical()
    assert '"precision":"float16"' in Latents(precision="float16").canonical()


def test_the_overlay_is_fast_in_every_stage_and_its_protocol_says_so() -> None:
    study = load_study(CONFIGS / "imagenet256.yaml", CONFIGS / "fast.yaml")
    assert (study.training.precision, study.training.compile) == ("bfloat16", True)
    assert (study.sampling.precision, study.latents.precision) == ("bfloat16", "float16")
    row = next(row for row in compare_protocol(study, 1_281_167) if row.setting == "precision")
    assert row.ours == "bfloat16 autocast; sampling in bfloat16 autocast; encoder in float16 autocast"
