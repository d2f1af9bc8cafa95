"""Encoding to shards and merging their facts, against moments and statistics computed directly."""

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import sha256_file
from dit_scaling.config.image_settings import Mnist
from dit_scaling.config.stages import DataSettings, LatentsSettings, VaeSettings
from dit_scaling.config.vae_settings import Latents, TrainedVae
from dit_scaling.data.sources import open_source, read_images
from dit_scaling.data.split import split_indices
from dit_scaling.latents import encode
from dit_scaling.latents.autoencoder import encode_moments, open_vae
from dit_scaling.latents.encode import Encoding, encode_shard, shard_indices
from dit_scaling.latents.manifest import ShardJob, read_manifest, write_manifest
from dit_scaling.latents.reader import LatentReader
from dit_scaling.latents.vae_stage import make_vae

CPU = torch.device("cpu")
DATA = Mnist(source="mnist", held_out=4940)
SETTINGS = LatentsSettings(
    latents=Latents(shards=3, held_out_shards=1),
    vae=VaeSettings(
        vae=TrainedVae(
            source="trained", block_channels=(4, 8, 8), latent_channels=2, steps=3, batch_size=4, learning_rate=1e-3
        ),
        fingerprint="",
        data=DataSettings(data=DATA, seed=5, fingerprint=""),
    ),
)
TRAIN, HELD_OUT = split_indices(5000, DATA.held_out, 5)


def encode_into(folder: Path, split: str, shard: int, settings: LatentsSettings = SETTINGS, batch: int = 8) -> Path:
    facts = folder / f"facts/{split}-{shard}.json"
    vae_json = folder / "vae.json"
    output, how = folder / f"latents/{split}-{shard}.tar", Encoding(CPU, batch)
    encode_shard(ShardJob(settings, split, shard, vae_json, output, facts), how)
    return facts


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study's folder after the latents stage; only 40 of its held-out images, for speed."""
    folder = tmp_path_factory.mktemp("study")
    make_vae(SETTINGS.vae, folder / "vae.json", folder / "vae", folder / "vae.png", CPU)
    patch = pytest.MonkeyPatch()
    patch.setattr(encode, "split_indices", lambda *_: (TRAIN, HELD_OUT[:40]))
    facts = [encode_into(folder, "train", shard) for shard in (2, 0, 1)] + [encode_into(folder, "held_out", 0)]
    patch.undo()
    write_manifest(SETTINGS, facts, folder / "vae.json", folder / "latents/manifest.json")
    return folder


@pytest.fixture
def study(built: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(built, tmp_path / "study"))


def all_facts(folder: Path) -> list[Path]:
    return sorted((folder / "facts").iterdir())


@pytest.mark.parametrize(("split", "indices"), [("train", TRAIN), ("held_out", HELD_OUT[:40])])
def test_shards_hold_the_moments_of_images_and_mirrors(built: Path, split: str, indices: np.ndarray) -> None:
    reader = LatentReader(built / "latents/manifest.json", split)
    source, vae = open_source(DATA), open_vae(built / "vae.json")
    images = read_images(source, indices)
    moments = reader.moments(np.arange(len(reader)))
    assert moments.shape == (len(indices), 2, 4, 8, 8)
    for orientation, seen in enumerate((images, np.flip(images, axis=2))):
        # float16 keeps 11 bits; batches of another size may differ in float32's last ones.
        np.testing.assert_allclose(moments[:, orientation], encode_moments(vae, seen), rtol=1e-3, atol=1e-3)
    assert not np.allclose(moments[:, 0], moments[:, 1], atol=1e-2), "mirrors differ from images"
    np.testing.assert_array_equal(reader.labels, source.labels[indices])
    assert reader.sources == [source.keys[index] for index in indices]


def test_manifest_statistics_are_those_computed_directly(built: Path) -> None:
    manifest = read_manifest(built / "latents/manifest.json")
    labels = open_source(DATA).labels
    for split, indices in (("train", TRAIN), ("held_out", HELD_OUT[:40])):
        reader = LatentReader(built / "latents/manifest.json", split)
        mean, logvar = np.split(reader.moments(np.arange(len(reader))).astype(np.float64), 2, axis=2)
        expected = manifest.splits[split]
        axes = (0, 1, 3, 4)
        variance = np.exp(logvar).mean(axes) + mean.var(axes)  # law of total variance
        np.testing.assert_allclose(expected.channel_mean, manifest.scale * mean.mean(axes), rtol=1e-9)
        np.testing.assert_allclose(expected.channel_std, manifest.scale * np.sqrt(variance), rtol=1e-9)
        assert expected.count == len(indices)
        assert list(expected.label_histogram) == np.bincount(labels[indices], minlength=10).tolist()
    assert manifest.scale == open_vae(built / "vae.json").config.scaling_factor
    assert manifest.settings_digest == SETTINGS.digest
    assert [shard.count for shard in manifest.splits["train"].shards] == [20, 20, 20]


def test_manifest_names_every_shard_by_its_bytes(built: Path) -> None:
    manifest = read_manifest(built / "latents/manifest.json")
    files = {shard.file: shard.sha256 for split in manifest.splits.values() for shard in split.shards}
    assert files == {path.name: sha256_file(path) for path in (built / "latents").glob("*.tar")}


def test_encoding_again_gives_the_same_bytes(built: Path, study: Path) -> None:
    for path in (study / "latents/train-1.tar", study / "facts/train-1.json"):
        path.unlink()
    encode_into(study, "train", 1)
    for name in ("latents/train-1.tar", "facts/train-1.json"):
        assert (study / name).read_bytes() == (built / name).read_bytes()


def test_batch_size_changes_no_more_than_the_last_bits(study: Path) -> None:
    before = LatentReader(study / "latents/manifest.json", "train").moments(np.arange(20))
    encode_into(study, "train", 0, batch=3)
    write_manifest(SETTINGS, all_facts(study), study / "vae.json", study / "latents/manifest.json")
    after = LatentReader(study / "latents/manifest.json", "train").moments(np.arange(20))
    np.testing.assert_allclose(after.astype(np.float32), before.astype(np.float32), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("shards", [1, 3, 7, 60])
def test_every_image_is_in_one_shard_of_fair_size(shards: int) -> None:
    settings = SETTINGS.model_copy(update={"latents": Latents(shards=shards)})
    runs = [shard_indices(settings, "train", shard, TRAIN) for shard in range(shards)]
    np.testing.assert_array_equal(np.concatenate(runs), TRAIN)
    assert max(map(len, runs)) - min(map(len, runs)) <= 1


def test_more_shards_than_images() -> None:
    settings = SETTINGS.model_copy(update={"latents": Latents(shards=61, held_out_shards=50)})
    with pytest.raises(UserError, match=r"latents\.shards: 61 shards for 60 images"):
        shard_indices(settings, "train", 0, TRAIN)
    with pytest.raises(UserError, match=r"latents\.held_out_shards: 50 shards for 40 images"):
        shard_indices(settings, "held_out", 0, HELD_OUT[:40])


def test_shard_that_is_none() -> None:
    with pytest.raises(UserError, match=r"latents\.shards: 3, so there is no train shard 3"):
        shard_indices(SETTINGS, "train", 3, TRAIN)


@pytest.mark.parametrize(("value", "reason"), [(np.nan, "NaN or infinity"), (1e6, "too large for float16")])
def test_autoencoder_that_fails_names_the_image(
    study: Path, monkeypatch: pytest.MonkeyPatch, value: float, reason: str
) -> None:
    count = itertools.count()

    def failing(vae: object, images: np.ndarray, *options: str) -> np.ndarray:
        moments = encode_moments(vae, images, *options)
        if next(count) == 3:  # images 0-7, their mirrors, images 8-15, their mirrors
            moments[5] = value
        return moments

    (study / "latents/train-0.tar").unlink()
    (study / "facts/train-0.json").unlink()
    monkeypatch.setattr(encode, "encode_moments", failing)
    with pytest.raises(UserError, match=rf"^mnist/{TRAIN[13]:04d}: .*{reason}"):
        encode_into(study, "train", 0)
    assert not (study / "latents/train-0.tar").exists()
    assert not (study / "facts/train-0.json").exists()
    assert not list(study.rglob(".tmp*"))


def change_facts(folder: Path, **changes: object) -> None:
    path = folder / "facts/train-1.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder / "facts/train-1.json").unlink(), r"3 train shards .* these are given: \[0, 2\]"),
        (lambda folder: (folder / "facts/held_out-0.json").unlink(), r"1 held_out shards .* given: \[\]"),
        (lambda folder: change_facts(folder, shard=0), r"given: \[0, 0, 2\]"),
        (lambda folder: change_facts(folder, settings_digest="x"), r"train-1\.json is of other settings"),
        (lambda folder: change_facts(folder, vae_sha256="0" * 64), r"train-1\.json was encoded with another"),
        (lambda folder: change_facts(folder, count=0), r"train-1\.json holds no facts of a shard: count"),
        (lambda folder: change_facts(folder, first=[1]), r"train-1\.json holds no facts .* not of 2 channels"),
        (lambda folder: change_facts(folder, count=7), r"train-1\.json holds no facts .* do not add up"),
        (lambda folder: change_facts(folder, file="../../else.tar"), "leads out of the manifest's folder"),
        (lambda folder: (folder / "facts/train-1.json").write_text("{"), r"train-1\.json is not valid JSON"),
        (lambda folder: (folder / "vae.json").write_text("[]"), r"vae\.json is no record"),
    ],
)
def test_facts_that_do_not_fit_together(study: Path, damage: Callable[[Path], object], reason: str) -> None:
    damage(study)
    (study / "latents/manifest.json").unlink()
    with pytest.raises(UserError, match=reason):
        write_manifest(SETTINGS, all_facts(study), study / "vae.json", study / "latents/manifest.json")
    assert not (study / "latents/manifest.json").exists()


def test_content_follows_the_shards_and_nothing_else(study: Path) -> None:
    before = read_manifest(study / "latents/manifest.json").content
    path = study / "latents/manifest.json"
    write_manifest(SETTINGS, all_facts(study)[::-1], study / "vae.json", path)
    assert read_manifest(path).content == before
    change_facts(study, sha256="0" * 64)
    write_manifest(SETTINGS, all_facts(study), study / "vae.json", path)
    assert read_manifest(path).content != before


def test_copied_study_is_read_where_it_is(built: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(built / "latents", tmp_path / "elsewhere")
    assert len(LatentReader(copy / "manifest.json", "train")) == 60
