"""Reading ImageNet-size latents from the page cache for training, beside webdataset on the same shards.

Ours in an order shuffled over all shards; webdataset shuffled over shards and within a buffer of 1,000, without what
draws from the moments.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.row import DisagreementError, Outcome, Row, Setting, Side, at_least, timed
from dit_scaling.common.files import sha256_file, write_json
from dit_scaling.latents.manifest import LatentShape, Manifest, Shard, Split, content_digest
from dit_scaling.latents.reader import LatentReader
from dit_scaling.latents.shards import LatentSample, write_shard
from dit_scaling.training.order import EpochOrder

SHAPE: LatentShape = (2, 8, 32, 32)
SHARDS = 8
CLASSES = 1000
BATCH = 256
BUFFER = 1000
DISTINCT = 256  # images with numbers of their own; the others repeat them


def write_latents(setting: Setting) -> Path:
    """Shards of raw float16 moments, image and mirror, and their manifest; about 0.7 GB."""
    folder, images = setting.folder / "latents", BATCH * setting.choose(80, 4)
    if (folder / "manifest.json").exists():
        return folder / "manifest.json"
    numbers = np.random.default_rng(0).standard_normal((DISTINCT, *SHAPE)).astype(np.float16)

    def samples(indices: range) -> Iterator[LatentSample]:
        for index in indices:
            yield LatentSample(index, numbers[index % DISTINCT], index % CLASSES, f"{index}.jpg")

    shards = []
    for shard in range(SHARDS):
        indices = range(shard * images // SHARDS, (shard + 1) * images // SHARDS)
        path = folder / f"train-{shard:05d}.tar"
        write_shard(path, samples(indices))
        shards.append(Shard(file=path.name, sha256=sha256_file(path), count=len(indices)))
    split = Split(
        shards=tuple(shards),
        count=images,
        label_histogram=tuple(np.bincount(np.arange(images) % CLASSES, minlength=CLASSES).tolist()),
        channel_mean=(0.0,) * 4,
        channel_std=(1.0,) * 4,
    )
    manifest = Manifest(
        splits={"train": split},
        latent_shape=SHAPE,
        dtype="float16",
        scale=1.0,
        vae_sha256="0" * 64,
        settings_digest="benchmark",
        content=content_digest({"train": split}, 1.0),
    )
    write_json(folder / "manifest.json", manifest.model_dump(mode="json"))
    return folder / "manifest.json"


def read_shuffled(setting: Setting) -> Side:
    """An epoch in batches, every sample from anywhere."""
    reader, first = LatentReader(write_latents(setting), "train"), list[float]()
    order, steps = EpochOrder(reader.shard_counts, seed=0), len(reader) // BATCH
    epochs = itertools.count()

    def run() -> None:
        first.clear()
        begin = next(epochs) * steps
        for step in range(begin, begin + steps):
            first.extend(reader.moments(order.indices(step, BATCH))[:, 0, 0, 0, 0].tolist())

    return timed(run, lambda: {"images": len(first), "first numbers of each": np.sort(first)})


def read_webdataset(setting: Setting) -> Side:
    """An epoch as webdataset's documentation has it."""
    import webdataset

    urls = [str(path) for path in sorted(write_latents(setting).parent.glob("*.tar"))]
    first = list[float]()

    def run() -> None:
        first.clear()
        for sample in webdataset.WebDataset(urls, shardshuffle=len(urls)).shuffle(BUFFER).decode():
            first.append(float(sample["latent.npy"][0, 0, 0, 0]))

    return timed(run, lambda: {"images": len(first), "first numbers of each": np.sort(first)})


def agree(ours: Outcome, peer: Outcome) -> str:
    """Both read every image once, in orders of their own."""
    if not all(np.array_equal(ours[name], peer[name]) for name in ours):
        raise DisagreementError("the two epochs do not hold the same images")
    return "the same images, each once"


ROWS = (
    Row(
        name="reader-shuffled",
        what="an epoch of 20,480 ImageNet-size latents in batches, shuffled globally",
        peer="webdataset, shuffled by shard and in a buffer",
        make_ours=read_shuffled,
        make_peer=read_webdataset,
        agree=agree,
        target=at_least(10.0),
        threads=1,
    ),
)
