"""Small latents, a small VAE and the settings of a small run, shared by the tests of training and sampling."""

import json
import os
import pickle
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from dit_scaling.common.files import sha256_file
from dit_scaling.config.recipe import Recipe
from dit_scaling.config.stages import TrainSettings
from dit_scaling.latents.autoencoder import weights_sha256
from dit_scaling.latents.manifest import Manifest, Shard, Split, content_digest
from dit_scaling.latents.shards import LatentSample, write_shard
from dit_scaling.variants import Variant
from jobs import SmallStudy, finish_small_study
from pipeline import ROOT
from shared import made_once

# Processes that tests start take this tree too, whatever is installed.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))

# A shell that starts pytest in the background, or nohup, has it ignore these signals, and with it every process that a
# test sends one.
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)

CLASSES = 3
IMAGES = 24


@pytest.fixture(scope="session")
def toy_latents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of 24 images in two shards: 2x8x8 latents whose mean is that of their class."""
    folder = tmp_path_factory.mktemp("toy-latents")

    def samples(start: int) -> Iterator[LatentSample]:
        for index in range(start, start + IMAGES // 2):
            rng = np.random.default_rng(index)
            mean = rng.normal(index % CLASSES - 1, 0.5, size=(2, 2, 8, 8))
            moments = np.concatenate([mean, np.full_like(mean, -4.0)], axis=1).astype(np.float16)
            yield LatentSample(index, moments, index % CLASSES, f"image-{index}.png")

    for number in range(2):
        write_shard(folder / f"train-{number}.tar", samples(number * IMAGES // 2))
    shards = tuple(
        Shard(file=path.name, sha256=sha256_file(path), count=IMAGES // 2) for path in sorted(folder.glob("*.tar"))
    )
    split = Split(
        shards=shards, count=IMAGES, label_histogram=(8, 8, 8), channel_mean=(0.0, 0.0), channel_std=(1.0, 1.0)
    )
    manifest = Manifest(
        splits={"train": split},
        latent_shape=(2, 4, 8, 8),
        dtype="float16",
        scale=1.0,
        vae_sha256="0" * 64,
        settings_digest="toy",
        content=content_digest({"train": split}, 1.0),
    )
    path = folder / "manifest.json"
    path.write_text(json.dumps(manifest.model_dump(mode="json")))
    return path


@pytest.fixture(scope="session")
def split_latents(toy_latents: Path) -> Path:
    """Manifest of the same images, those of the second shard held out."""
    manifest = json.loads(toy_latents.read_text())
    both = Split.model_validate_json(json.dumps(manifest["splits"]["train"]))
    half = {"count": IMAGES // 2, "label_histogram": (4, 4, 4)}
    parts = dict(zip(("train", "held_out"), both.shards, strict=True))
    splits = {name: both.model_copy(update={"shards": (shard,), **half}) for name, shard in parts.items()}
    plain = {name: split.model_dump(mode="json") for name, split in splits.items()}
    path = toy_latents.with_name("split.json")
    path.write_text(json.dumps(manifest | {"splits": plain, "content": content_digest(splits, 1.0)}))
    return path


@pytest.fixture(scope="session")
def toy_vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Record of an untrained AutoencoderKL: 1x32x32 images, 2x8x8 latents."""
    from diffusers import AutoencoderKL

    folder = tmp_path_factory.mktemp("toy-vae")
    torch.manual_seed(0)
    vae = AutoencoderKL(
        in_channels=1,
        out_channels=1,
        latent_channels=2,
        block_out_channels=(4, 4, 4),
        norm_num_groups=2,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        scaling_factor=1.0,
    )
    vae.save_pretrained(folder / "autoencoder")
    record = {
        "source": "trained",
        "folder": "autoencoder",
        "latent_channels": 2,
        "downsampling": 4,
        "weights_sha256": weights_sha256(vae),
    }
    path = folder / "vae.json"
    path.write_text(json.dumps(record))
    return path


@pytest.fixture(scope="session")
def toy_run() -> TrainSettings:
    """A one-layer DiT on the toy latents."""
    return TrainSettings(
        variant=Variant(size="Toy", patch=2, depth=1, hidden_size=16, num_heads=2),
        seed=0,
        input_size=8,
        in_channels=2,
        num_classes=CLASSES,
        recipe=Recipe(batch_size=8, learning_rate=2.0e-3, warmup_steps=5, ema_decay=0.9, ema_ramp=True),
        latents="toy",
    )


@pytest.fixture(scope="session")
def small_study(tmp_path_factory: pytest.TempPathFactory) -> SmallStudy:
    """A study of forty images and one variant, each of its jobs run in one process of the session."""

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            (folder.with_suffix(".pickle")).write_bytes(pickle.dumps(finish_small_study(folder)))

    folder = made_once(tmp_path_factory, "small-study", make)
    study: SmallStudy = pickle.loads(folder.with_suffix(".pickle").read_bytes())
    return study
