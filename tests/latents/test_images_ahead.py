"""Images are read ahead by threads while others are encoded, in order, and never more than a few batches of them."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import sha256_file
from dit_scaling.config.image_settings import Shapes
from dit_scaling.config.stages import DataSettings, LatentsSettings, VaeSettings
from dit_scaling.config.vae_settings import Latents, TrainedVae
from dit_scaling.data import sources
from dit_scaling.latents import encode
from dit_scaling.latents.encode import BATCHES_AHEAD, Encoding, encode_shard
from dit_scaling.latents.manifest import ShardJob

BATCH, BATCHES = 4, 10
SETTINGS = LatentsSettings(
    latents=Latents(shards=1, held_out_shards=1),
    vae=VaeSettings(
        vae=TrainedVae(
            source="trained", block_channels=(4, 4, 4), latent_channels=2, steps=3, batch_size=4, learning_rate=1e-3
        ),
        fingerprint="",
        data=DataSettings(data=Shapes(source="shapes", images=50, held_out=10), seed=0, fingerprint=""),
    ),
)


def encoded(folder: Path, vae: Path, readers: int) -> str:
    """sha256 of a shard of forty pictures."""
    shard = folder / f"{readers}.tar"
    how = Encoding(torch.device("cpu"), BATCH, readers)
    encode_shard(ShardJob(SETTINGS, "train", 0, vae, shard, folder / "facts.json"), how)
    return sha256_file(shard)


@pytest.fixture
def rgb_vae(toy_vae: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy autoencoder, with pictures made grey for it."""
    image = sources._ShapesSource.image

    def grey(self: sources._ShapesSource, index: int) -> NDArray[np.uint8]:
        return image(self, index)[:, :, :1]

    monkeypatch.setattr(sources._ShapesSource, "image", grey)
    return toy_vae


def test_shards_have_the_same_bytes_whoever_reads(
    rgb_vae: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = sources._ShapesSource.image

    def uneven(self: sources._ShapesSource, index: int) -> NDArray[np.uint8]:
        time.sleep(1e-3 * (index % 5))  # later ones are ready before earlier ones
        return image(self, index)

    monkeypatch.setattr(sources._ShapesSource, "image", uneven)
    assert len({encoded(tmp_path, rgb_vae, readers) for readers in (1, 2, 7)}) == 1


class SlowSource:
    """Ten milliseconds an image."""

    def __init__(self) -> None:
        self.read = list[int]()

    def image(self, index: int) -> NDArray[np.uint8]:
        time.sleep(1e-2)
        self.read.append(index)
        return np.full((2, 2, 1), index, dtype=np.uint8)


def batches() -> list[NDArray[np.int64]]:
    return [np.arange(BATCH) + BATCH * number for number in range(BATCHES)]


def test_reading_and_encoding_overlap() -> None:
    source, started = SlowSource(), time.monotonic()
    for number, images in enumerate(encode._images_ahead(source, batches(), 2)):
        assert images[:, 0, 0, 0].tolist() == batches()[number].tolist()
        time.sleep(2e-2)  # as long as two threads take for a batch
    taking_turns = BATCHES * (BATCH * 1e-2 + 2e-2)
    assert time.monotonic() - started < 0.65 * taking_turns


def test_only_a_few_batches_wait() -> None:
    source = SlowSource()
    ahead = encode._images_ahead(source, batches(), 4)
    next(ahead)
    time.sleep(0.3)
    assert len(source.read) <= (1 + BATCHES_AHEAD) * BATCH
    ahead.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("images")]


def test_an_unreadable_image_ends_the_shard_with_its_message(
    rgb_vae: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = sources._ShapesSource.image

    def broken(self: sources._ShapesSource, index: int) -> NDArray[np.uint8]:
        if index == 7:
            raise UserError("shapes/7 is broken")
        return image(self, index)

    monkeypatch.setattr(sources._ShapesSource, "image", broken)
    with pytest.raises(UserError, match="shapes/7 is broken"):
        encoded(tmp_path, rgb_vae, 3)
    assert not list(tmp_path.glob("*.tar"))
