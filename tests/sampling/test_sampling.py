"""Samples are functions of (seed, index): not of the batch, the part or the order."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch._dynamo.utils import counters

from dit_scaling.common.errors import UserError
from dit_scaling.config.stages import SampleSettings
from dit_scaling.diffusion.base import Process
from dit_scaling.diffusion.process import PAPER_PROCESS, DiffusionSettings, FlowSettings, create_diffusion
from dit_scaling.diffusion.samplers import SAMPLERS, SamplingOptions
from dit_scaling.models import create_model
from dit_scaling.models.checkpoints import CheckpointHeader, load_model, save_model
from dit_scaling.models.compiling import compiler_found
from dit_scaling.sampling.images import Samples, read_samples, write_grid, write_samples
from dit_scaling.sampling.parts import FIRST, PartFiles, sample_latents, sample_part
from dit_scaling.sampling.sample_noise import SampleNoise, sample_labels
from dit_scaling.variants import Variant
from toy_sampling import TOY_SAMPLING

DIFFUSION = create_diffusion(PAPER_PROCESS)
CPU = torch.device("cpu")
VARIANT = Variant(size="Toy", patch=2, depth=1, hidden_size=16, num_heads=2)
SETTINGS = TOY_SAMPLING
FLOW = create_diffusion(FlowSettings(objective="flow"))


def of(sampler: str) -> Process:
    """A process that it samples."""
    return FLOW if SAMPLERS[sampler].objective == "flow" else DIFFUSION


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights everywhere, so that labels and times matter."""
    model = create_model(VARIANT, 8, 3, 2)
    rng = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=rng)
    path = tmp_path_factory.mktemp("checkpoint") / "ema.safetensors"
    save_model(path, model, CheckpointHeader(VARIANT, 8, 3, 2, settings_digest="toy", step=1, provenance={}))
    return path


def sampled(settings: SampleSettings, checkpoint: Path, vae: Path, folder: Path, batch: int) -> Samples:
    parts = []
    for part in range(settings.parts):
        output = folder / f"{settings.parts}-{batch}-{part}.npz"
        first, grid = output.with_suffix(".first.npz"), output.with_suffix(".png")
        sample_part(settings, part, PartFiles(checkpoint, vae, output, first, grid), batch, CPU, 60.0)
        parts.append(read_samples(output))
        assert np.array_equal(read_samples(first).images, parts[-1].images[:FIRST])
    return Samples(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.indices for part in parts]),
    )


def test_parts_and_batches_do_not_change_the_images(checkpoint: Path, toy_vae: Path, tmp_path: Path) -> None:
    whole = sampled(SETTINGS, checkpoint, toy_vae, tmp_path, batch=11)
    split = sampled(SETTINGS.model_copy(update={"parts": 3}), checkpoint, toy_vae, tmp_path, batch=2)
    assert np.array_equal(whole.indices, np.arange(11))
    assert np.array_equal(whole.indices, split.indices)
    assert np.array_equal(whole.labels, split.labels)
    # Other batch sizes may round differently in the last bit of float32: one grey level at most.
    assert np.abs(whole.images.astype(int) - split.images).max() <= 1
    assert whole.images.shape == (11, 32, 32, 1)
    assert len(np.unique(whole.images.reshape(11, -1), axis=0)) == 11


@pytest.mark.slow
@pytest.mark.skipif(not compiler_found(), reason="no C++ compiler on this machine")
@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_compiled_samples_are_the_plain_ones_in_one_graph(
    checkpoint: Path, toy_vae: Path, tmp_path: Path, guidance: float
) -> None:
    torch._dynamo.reset()
    counters.clear()
    plain = SETTINGS.model_copy(update={"guidance_scale": guidance})
    images = [
        sampled(settings, checkpoint, toy_vae, tmp_path, batch=4).images.astype(int)  # the last batch has 3
        for settings in (plain, plain.model_copy(update={"compile": True}))
    ]
    assert np.abs(images[0] - images[1]).max() <= 1
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]


def test_another_seed_makes_other_images(checkpoint: Path, toy_vae: Path, tmp_path: Path) -> None:
    first = sampled(SETTINGS, checkpoint, toy_vae, tmp_path, batch=11)
    second = sampled(SETTINGS.model_copy(update={"seed": 1}), checkpoint, toy_vae, tmp_path, batch=11)
    assert not np.array_equal(first.images, second.images)


def test_a_model_without_null_class_is_sampled_but_not_guided(
    checkpoint: Path, toy_vae: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dit_scaling.sampling.parts.has_null_class", lambda _: False)
    sampled(SETTINGS.model_copy(update={"guidance_scale": 1.0}), checkpoint, toy_vae, tmp_path, batch=11)
    with pytest.raises(
        UserError, match=r"has no null class .* cannot be guided at scale 4\. Set sampling\.guidance_scales"
    ):
        sampled(SETTINGS.model_copy(update={"guidance_scale": 4.0}), checkpoint, toy_vae, tmp_path, batch=11)


def test_guidance_moves_the_first_channels_only(checkpoint: Path) -> None:
    model, labels = load_model(checkpoint), torch.tensor([0, 1, 2])

    def latents(**changes: object) -> torch.Tensor:
        noise = SampleNoise(0, np.arange(3), (2, 8, 8), CPU)
        return sample_latents(DIFFUSION, model, SETTINGS.model_copy(update={"steps": 2, **changes}), noise, labels)

    assert not torch.allclose(latents(), latents(guidance_scale=4.0))
    assert not torch.allclose(
        latents(guidance_scale=4.0, guidance_channels=1), latents(guidance_scale=4.0, guidance_channels=None)
    )


@pytest.mark.parametrize("sampler", [name for name, row in SAMPLERS.items() if not row.stochastic])
def test_deterministic_samplers_start_from_the_same_noise_and_add_none(checkpoint: Path, sampler: str) -> None:
    model, labels = load_model(checkpoint), torch.tensor([0, 1, 2])

    def latents(sampler: str) -> torch.Tensor:
        settings = SETTINGS.model_copy(update={"sampler": sampler, "guidance_scale": 2.0})
        return sample_latents(of(sampler), model, settings, SampleNoise(0, np.arange(3), (2, 8, 8), CPU), labels)

    start = SampleNoise(0, np.arange(3), (2, 8, 8), CPU)()
    assert torch.equal(latents(sampler), of(sampler).sample(model, start, labels, SamplingOptions(sampler, 4, 2.0)))
    assert not torch.allclose(latents(sampler), latents("ddpm"))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_samplers_noise_is_a_function_of_seed_and_index(checkpoint: Path, sampler: str) -> None:
    model, settings = load_model(checkpoint), SETTINGS.model_copy(update={"sampler": sampler})

    def latents(indices: list[int]) -> torch.Tensor:
        noise = SampleNoise(0, np.array(indices), (2, 8, 8), CPU)
        return sample_latents(of(sampler), model, settings, noise, torch.tensor(indices) % 3)

    torch.testing.assert_close(latents([0, 1, 2])[1:2], latents([1]), atol=1e-4, rtol=1e-4)


def test_weights_of_another_process_are_refused(checkpoint: Path, toy_vae: Path, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"diffusion": DiffusionSettings(schedule="cosine")})
    with pytest.raises(UserError, match=r"was trained with objective ddpm, .*linear.*Set the config's diffusion"):
        sampled(settings, checkpoint, toy_vae, tmp_path, batch=4)


def test_noise_streams_do_not_depend_on_their_neighbours() -> None:
    alone = SampleNoise(0, np.array([5]), (2, 3, 3), CPU)
    together = SampleNoise(0, np.array([4, 5, 6]), (2, 3, 3), CPU)
    for _ in range(3):
        assert torch.equal(alone()[0], together()[1])


def test_noise_is_standard_normal_and_independent() -> None:
    noise = SampleNoise(3, np.arange(200), (4, 8, 8), CPU)
    first, second = noise().flatten(1), noise().flatten(1)
    for draw in (first, second):
        assert abs(float(draw.mean())) < 4 / draw.numel() ** 0.5
        assert abs(float(draw.var()) - 1) < 4 * (2 / draw.numel()) ** 0.5
    assert abs(float((first * second).mean())) < 4 / first.numel() ** 0.5
    assert abs(float((first[:-1] * first[1:]).mean())) < 4 / first.numel() ** 0.5


def test_balanced_labels_are_exactly_balanced_and_random_ones_uniform() -> None:
    indices = np.arange(3000)
    balanced = sample_labels(indices, 10, "balanced", 0)
    assert np.array_equal(np.bincount(balanced), np.full(10, 300))
    random = sample_labels(indices, 10, "random", 0)
    assert np.abs(np.bincount(random, minlength=10) - 300).max() < 5 * (3000 * 0.09) ** 0.5
    assert np.array_equal(random[100:200], sample_labels(indices[100:200], 10, "random", 0))
    assert not np.array_equal(random, sample_labels(indices, 10, "random", 1))


def test_a_checkpoint_of_other_classes_is_refused(checkpoint: Path, toy_vae: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"3 classes.*10"):
        sampled(SETTINGS.model_copy(update={"num_classes": 10}), checkpoint, toy_vae, tmp_path, batch=4)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["missing", "torn", "short", "key"])
def test_damaged_parts_are_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "part-00000.npz"
    images = np.zeros((3, 4, 4, 1), dtype=np.uint8)
    write_samples(path, Samples(images, np.arange(3), np.arange(3)))
    if damage == "missing":
        path.unlink()
    elif damage == "torn":
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "short":
        write_samples(path, Samples(images, np.arange(2), np.arange(3)))
    else:
        np.savez(path, arr_0=images)
    with pytest.raises(UserError, match=r"part-00000\.npz"):
        read_samples(path)


def test_a_grid_shows_every_image_in_its_place(tmp_path: Path) -> None:
    images = np.stack([np.full((4, 4, 1), value, dtype=np.uint8) for value in (10, 20, 30)])
    write_grid(tmp_path / "grid.png", images, columns=2, zoom=2)
    pixels = np.asarray(Image.open(tmp_path / "grid.png"))
    assert pixels.shape == (22, 22)
    assert [pixels[6, 6], pixels[6, 16], pixels[16, 6], pixels[16, 16]] == [10, 20, 30, 255]
