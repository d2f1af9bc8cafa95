"""The autoencoder: trained ones against diffusers itself, given ones good and bad, and the stage's record."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dit_scaling.common.errors import UserError
from dit_scaling.config.image_settings import ImageFolder, Mnist
from dit_scaling.config.stages import DataSettings, VaeSettings
from dit_scaling.config.vae_settings import PretrainedVae, TrainedVae
from dit_scaling.data.sources import ImageSource, open_source, read_images
from dit_scaling.latents import autoencoder, vae_training
from dit_scaling.latents.autoencoder import (
    decode,
    encode_moments,
    for_encoding,
    load_vae,
    open_vae,
    to_uint8,
    to_unit_range,
    weights_sha256,
)
from dit_scaling.latents.vae_stage import make_vae, reconstruct, reconstruction_report
from dit_scaling.latents.vae_training import build_vae, measure_scale, train_vae, vae_loss

CPU = torch.device("cpu")
DIGITS = Mnist(source="mnist", held_out=4900)
TINY = TrainedVae(
    source="trained", block_channels=(4, 8, 8), latent_channels=2, steps=12, batch_size=4, learning_rate=2e-3
)


@pytest.fixture(scope="module")
def source() -> ImageSource:
    return open_source(DIGITS)


@pytest.fixture(scope="module")
def trained(source: ImageSource, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vae") / "vae"
    train_vae(TINY, source, np.arange(0, 5000, 50), folder, seed=1, device=CPU)
    return folder


@pytest.fixture
def broken(trained: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(trained, tmp_path / "broken"))


def test_a_cpu_encodes_a_few_images_at_a_time_and_loses_none(
    trained: Path, source: ImageSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    vae = for_encoding(load_vae(trained, 2, 4), torch.device("cpu"))
    images = read_images(source, np.arange(5))
    whole, seen, encode = encode_moments(vae, images), list[int](), vae.encode
    monkeypatch.setattr(autoencoder, "CPU_PIXELS", 2 * images.shape[1] * images.shape[2])
    monkeypatch.setattr(vae, "encode", lambda pixels: (seen.append(len(pixels)), encode(pixels))[1])
    np.testing.assert_allclose(encode_moments(vae, images), whole, atol=1e-5)
    assert seen == [2, 2, 1]


def test_an_autoencoder_takes_tf32_both_ways(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vae = load_vae(trained, 2, 4)
    seen: list[bool] = []

    def noting(call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any) -> Any:
            seen.append(torch.backends.cudnn.allow_tf32 and torch.backends.cuda.matmul.allow_tf32)
            return call(*arguments)

        return noted

    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(vae, "encode", noting(vae.encode))
    monkeypatch.setattr(vae, "decode", noting(vae.decode))
    reconstruct(vae, np.zeros((1, 16, 16, 1), np.uint8))
    assert seen == [True, True]
    assert not torch.backends.cudnn.allow_tf32


def test_trained_folder_is_one_of_diffusers(trained: Path, source: ImageSource) -> None:
    from diffusers import AutoencoderKL

    theirs = AutoencoderKL.from_pretrained(trained).eval()
    ours = load_vae(trained, 2, 4)
    images = read_images(source, np.array([3, 1400, 4999]))
    with torch.no_grad():
        posterior = theirs.encode(torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1).latent_dist
        pixels = theirs.decode(posterior.mean).sample
    moments = encode_moments(ours, images)
    assert moments.shape == (3, 4, 8, 8)
    assert moments.dtype == np.float32
    np.testing.assert_allclose(moments[:, :2], posterior.mean, atol=1e-5)
    np.testing.assert_allclose(moments[:, 2:], posterior.logvar, atol=1e-5)
    scaled = torch.from_numpy(moments[:, :2]) * theirs.config.scaling_factor
    expected = (127.5 * pixels + 128).clamp(0, 255).permute(0, 2, 3, 1).numpy()
    decoded = decode(ours, scaled, batch=2)
    assert decoded.dtype == np.uint8
    # Batches of two and of three may differ in the last bit, and so by one grey level at a boundary.
    np.testing.assert_allclose(decoded, np.floor(expected), atol=1)


def test_training_is_the_same_twice_and_another_by_another_seed(
    trained: Path, source: ImageSource, tmp_path: Path
) -> None:
    digests = [weights_sha256(load_vae(trained, 2, 4))]
    torch.manual_seed(99)
    for seed in (1, 2):
        vae = train_vae(TINY, source, np.arange(0, 5000, 50), tmp_path / "vae", seed=seed, device=CPU)
        digests.append(weights_sha256(vae))
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("steps", [3, 10])
def test_the_shortest_schedules_run(source: ImageSource, tmp_path: Path, steps: int) -> None:
    """At 10 steps a tenth of them is one, from which a learning rate cannot rise."""
    short = TINY.model_copy(update={"steps": steps})
    train_vae(short, source, np.arange(0, 5000, 50), tmp_path / "vae", seed=1, device=CPU)
    assert (tmp_path / "vae" / "config.json").exists()


def test_building_leaves_the_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    build_vae(TINY, 1, 0)
    assert torch.equal(before, torch.random.get_rng_state())


def test_training_lowers_the_loss(trained: Path, source: ImageSource) -> None:
    pixels = to_unit_range(read_images(source, np.arange(25, 5000, 50)), 1)
    losses = []
    for vae in (build_vae(TINY, 1, seed=1), load_vae(trained, 2, 4)):
        with torch.no_grad():
            losses.append(vae_loss(vae, pixels, 0.0, torch.Generator().manual_seed(0)))
    assert losses[1] < 0.9 * losses[0]


def test_loss_is_its_formula_with_the_kl_of_torch(source: ImageSource) -> None:
    vae = build_vae(TINY, 1, seed=0)
    pixels = to_unit_range(read_images(source, np.arange(4)), 1)
    with torch.no_grad():
        posterior = vae.encode(pixels).latent_dist
        normal = torch.distributions.Normal(posterior.mean, posterior.std)
        kl = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).mean()
        error = vae.decode(posterior.sample(torch.Generator().manual_seed(3))).sample - pixels
        expected = error.abs().mean() + (error**2).mean() + 0.7 * kl
        loss = vae_loss(vae, pixels, 0.7, torch.Generator().manual_seed(3))
    torch.testing.assert_close(loss, expected)


def test_scale_makes_draws_of_unit_deviation(trained: Path, source: ImageSource) -> None:
    indices = np.arange(0, 5000, 50)
    vae = load_vae(trained, 2, 4)
    mean, logvar = np.split(encode_moments(vae, read_images(source, indices)), 2, axis=1)
    noise = np.random.default_rng(0).normal(size=(40, *mean.shape))
    draws = vae.config.scaling_factor * (mean + np.exp(0.5 * logvar) * noise)
    # 512,000 draws: the standard error of their deviation is below 0.002.
    assert draws.std() == pytest.approx(1.0, abs=0.005)
    assert measure_scale(vae, source, indices) == pytest.approx(vae.config.scaling_factor, rel=1e-6)


def test_every_image_is_drawn_once_per_pass() -> None:
    batches = list(vae_training._batches(np.arange(10, 20), 5, steps=4, seed=0))
    for one_pass in (batches[:2], batches[2:]):
        assert sorted(np.concatenate(one_pass).tolist()) == list(range(10, 20))
    assert not np.array_equal(batches[0], batches[2])


def test_fewer_images_than_a_batch_are_enough() -> None:
    assert [len(batch) for batch in vae_training._batches(np.arange(3), 8, steps=2, seed=0)] == [3, 3]


def test_divergence_says_so(source: ImageSource, tmp_path: Path) -> None:
    wild = TINY.model_copy(update={"learning_rate": 1e18, "steps": 30})
    with pytest.raises(UserError, match=r"vae\.learning_rate: 1e\+18 is too high: not finite at step"):
        train_vae(wild, source, np.arange(8), tmp_path / "vae", seed=0, device=CPU)
    assert list(tmp_path.iterdir()) == []


def test_uint8_is_that_of_the_protocol() -> None:
    values = torch.tensor([-2.0, -1.0, 0.0, 0.5, 0.9999, 1.0, 7.0]).view(1, 1, 1, -1)
    # clamp(127.5 x + 128, 0, 255), fractions dropped
    np.testing.assert_array_equal(to_uint8(values).ravel(), [0, 0, 128, 191, 255, 255, 255])


def test_every_grey_level_survives_the_way_to_unit_range_and_back() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    np.testing.assert_array_equal(to_uint8(to_unit_range(levels, 1)), levels)


def test_grey_images_go_through_an_rgb_autoencoder() -> None:
    vae = build_vae(TINY, 3, seed=0).eval()
    grey = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 1), dtype=np.uint8)
    np.testing.assert_array_equal(encode_moments(vae, grey), encode_moments(vae, grey.repeat(3, axis=3)))
    assert reconstruct(vae, grey).shape == grey.shape
    assert decode(vae, torch.zeros(1, 2, 4, 4), 1).shape == (1, 16, 16, 3)


def test_colour_images_do_not_fit_a_grey_autoencoder(trained: Path) -> None:
    with pytest.raises(UserError, match=r"data\.channels: 3, but the autoencoder takes images of 1"):
        encode_moments(load_vae(trained, 2, 4), np.zeros((1, 16, 16, 3), np.uint8))


def test_reconstruction_report_in_closed_form() -> None:
    originals = np.zeros((2, 4, 4, 1), np.uint8)
    # 51 grey levels are 0.4 of the range [-1, 1].
    report = reconstruction_report(originals, originals + 51)
    assert report == {"images": 2, "mse": pytest.approx(0.16), "psnr": pytest.approx(10 * math.log10(4 / 0.16))}
    assert math.isfinite(reconstruction_report(originals, originals)["psnr"])


def edit_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def drop_weight(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = folder / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    del weights["decoder.conv_in.weight"]
    save_file(weights, file)


def keep_half_precision(folder: Path) -> None:
    file = folder / "diffusion_pytorch_model.safetensors"
    file.rename(file.with_name("diffusion_pytorch_model.fp16.safetensors"))


def put_into(inside: str, record: str) -> Callable[[Path], object]:
    def put(folder: Path) -> None:
        (folder / inside).mkdir()
        for path in list(folder.iterdir()):
            if path.is_file():
                path.rename(folder / inside / path.name)
        (folder / record).write_text("{}")

    return put


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder / "config.json").unlink(), r"config\.json is missing; of weights it holds diff"),
        (lambda folder: (folder / "config.json").write_text("{"), r"config\.json is not valid JSON"),
        (lambda folder: (folder / "config.json").write_text("[]"), "describes no model"),
        (lambda folder: edit_config(folder, _class_name="UNet2DModel"), "describes UNet2DModel, not"),
        (lambda folder: edit_config(folder, block_out_channels=[4, 8]), "cannot be loaded as an AutoencoderKL"),
        (lambda folder: edit_config(folder, shift_factor=0.1), "shift_factor is 0.1: it shifts its latents"),
        (lambda folder: edit_config(folder, latents_mean=[0.1, 0.2]), r"latents_mean is \[0\.1, 0\.2\]: it shifts"),
        (lambda folder: edit_config(folder, latents_std=[0.1, 0.2]), r"latents_std is \[0\.1, 0\.2\]: it shifts"),
        (lambda folder: edit_config(folder, batch_norm_eps=1e-4), "batch_norm_eps is unknown here"),
        (lambda folder: edit_config(folder, scaling_factor=None), "scaling_factor is None, not a positive number"),
        (lambda folder: edit_config(folder, scaling_factor="0.18215"), "scaling_factor is '0.18215', not a positive"),
        (lambda folder: edit_config(folder, scaling_factor=-1.0), "scaling_factor is -1.0, not a positive number"),
        (lambda folder: edit_config(folder, scaling_factor=0), "scaling_factor is 0, not a positive number"),
        (lambda folder: edit_config(folder, scaling_factor=True), "scaling_factor is True, not a positive number"),
        (
            keep_half_precision,
            r"has no diffusion_pytorch_model\.safetensors, but .*\.fp16\.safetensors: its weights in",
        ),
        (
            put_into("vae", "model_index.json"),
            r"It is a whole pipeline; the autoencoder is in .*/vae: name that folder",
        ),
        (
            put_into("autoencoder", "vae.json"),
            r"It is the vae stage of a study; the autoencoder is in .*/autoencoder: name that folder",
        ),
        (put_into("elsewhere", "vae.json"), r"study with a given autoencoder: .*/vae\.json says where that is\."),
        (lambda folder: (folder / "diffusion_pytorch_model.safetensors").unlink(), "cannot be loaded"),
        (lambda folder: (folder / "diffusion_pytorch_model.safetensors").write_bytes(b"x" * 99), "cannot be loaded"),
        (drop_weight, r"lacks 1 weight of its autoencoder, decoder\.conv_in\.weight among them"),
    ],
)
def test_broken_folder_is_refused(broken: Path, damage: Callable[[Path], object], reason: str) -> None:
    damage(broken)
    with pytest.raises(UserError, match=reason) as error:
        load_vae(broken, 2, 4)
    assert "elete" not in str(error.value), "it is the user's"


@pytest.mark.parametrize(
    ("channels", "factor", "reason"),
    [(4, 4, r"vae\.latent_channels: 4, but .* has 2"), (2, 8, r"vae\.downsampling: 8, but .* reduces each side by 4")],
)
def test_other_shape_than_the_config_says(trained: Path, channels: int, factor: int, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        load_vae(trained, channels, factor)


def test_folder_that_is_not_there_names_the_command_that_fetches_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ft-mse holds no autoencoder.*dit-scaling prefetch"):
        load_vae(tmp_path / "sd-vae-ft-mse", 4, 8)


def settings_of(vae: TrainedVae | PretrainedVae) -> VaeSettings:
    return VaeSettings(vae=vae, fingerprint="", data=DataSettings(data=DIGITS, seed=0, fingerprint=""))


def run_stage(settings: VaeSettings, results: Path) -> dict:
    make_vae(settings, results / "vae.json", results / "vae", results / "vae.png", CPU)
    return json.loads((results / "vae.json").read_text())


def test_stage_trains_records_and_can_be_moved(tmp_path: Path) -> None:
    settings = settings_of(TINY)
    record = run_stage(settings, tmp_path / "here")
    moved = tmp_path / "there"
    shutil.move(tmp_path / "here", moved)
    vae = open_vae(moved / "vae.json")
    assert record["folder"] == "vae"
    assert record["scaling_factor"] == vae.config.scaling_factor
    assert record["parameters"] == sum(weight.numel() for weight in vae.parameters())
    assert (record["latent_channels"], record["downsampling"]) == (2, 4)
    assert record["settings_digest"] == settings.digest
    assert record["held_out"]["images"] == 1000
    assert not any(weight.requires_grad for weight in vae.parameters())
    with Image.open(moved / "vae.png") as picture:
        assert picture.size == (320, 64)


def test_stage_adopts_a_given_one_untouched(trained: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in trained.iterdir()}
    given = PretrainedVae(source="pretrained", path=str(trained), latent_channels=2, downsampling=4)
    make_vae(settings_of(given), tmp_path / "vae.json", trained, tmp_path / "vae.png", CPU)
    record = json.loads((tmp_path / "vae.json").read_text())
    assert record["folder"] == str(trained)
    assert before == {path: path.read_bytes() for path in trained.iterdir()}
    assert weights_sha256(open_vae(tmp_path / "vae.json")) == weights_sha256(load_vae(trained, 2, 4))


def test_stage_pictures_colour_images(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for index in range(6):
        path = tmp_path / f"images/{index % 2}/{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
    data = ImageFolder(source="image_folder", path=str(tmp_path / "images"), image_size=16, classes=2, held_out=2)
    settings = VaeSettings(vae=TINY, fingerprint="", data=DataSettings(data=data, seed=0, fingerprint=""))
    run_stage(settings, tmp_path / "results")
    with Image.open(tmp_path / "results/vae.png") as picture:
        assert (picture.size, picture.mode) == ((32, 32), "RGB")


def test_weights_that_are_no_longer_the_recorded_ones_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    run_stage(settings_of(TINY), tmp_path)
    file = tmp_path / "vae/diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights["encoder.conv_in.bias"] += 1e-3
    save_file(weights, file)
    with pytest.raises(UserError, match="not those it describes"):
        open_vae(tmp_path / "vae.json")


@pytest.mark.parametrize("content", ["{}", "[]", '{"folder": "x"}'])
def test_record_that_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "vae.json").write_text(content)
    with pytest.raises(UserError, match="is no record of an autoencoder"):
        open_vae(tmp_path / "vae.json")
