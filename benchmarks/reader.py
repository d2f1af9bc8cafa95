"""How many ImageNet-size latents a second one process reads, globally shuffled, beside plain webdataset.

python benchmarks/reader.py [--images 20000]

Writes shards of raw float16 moments, (2, 8, 32, 32) per image with its mirror, to a temporary folder (about 0.7 GB),
then reads them from the page cache: with the project's reader in an order shuffled over all shards, and with webdataset
shuffled over shards and within a buffer of 1,000.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import webdataset

from dit_scaling.files import sha256_file, write_json
from dit_scaling.latents.manifest import LatentShape, Manifest, Shard, Split, content_digest
from dit_scaling.latents.reader import LatentReader
from dit_scaling.latents.shards import LatentSample, write_shard
from dit_scaling.training.order import EpochOrder

SHAPE: LatentShape = (2, 8, 32, 32)
SHARDS = 8
CLASSES = 1000
BATCH = 256
DISTINCT = 256  # images with numbers of their own; the others repeat them


def write_latents(folder: Path, images: int) -> Path:
    """Shards and their manifest."""
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


def read_shuffled(reader: LatentReader, epoch: int) -> int:
    """One epoch in batches, every sample from anywhere; the number of images read."""
    order, steps = EpochOrder(reader.shard_counts, seed=epoch), len(reader) // BATCH
    return sum(len(reader.moments(order.indices(step, BATCH))) for step in range(steps))


def read_webdataset(folder: Path) -> int:
    """One epoch as webdataset's documentation has it; the number of images read."""
    urls = [str(path) for path in sorted(folder.glob("*.tar"))]
    return sum(1 for _ in webdataset.WebDataset(urls, shardshuffle=len(urls)).shuffle(1000).decode())


def rate(read: Callable[[], int]) -> float:
    """Images a second."""
    begin = time.perf_counter()
    return read() / (time.perf_counter() - begin)


def main() -> None:
    """Print seconds and rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000, help="images to write and read (20000)")
    images = parser.parse_args().images
    with tempfile.TemporaryDirectory() as name:
        manifest = write_latents(Path(name), images)
        begin = time.perf_counter()
        LatentReader(manifest, "train")
        made = time.perf_counter()
        reader = LatentReader(manifest, "train")
        kept = time.perf_counter()
        print(
            f"index of {images} images: made and checked in {made - begin:.2f} s, opened again in {kept - made:.3f} s"
        )
        rates = [rate(partial(read_shuffled, reader, epoch)) for epoch in range(6)]
        print(f"this reader, shuffled globally: {rates[0]:,.0f} images/s in the first epoch,", end=" ")
        print(f"{np.median(rates[1:]):,.0f} in the median of {len(rates) - 1} more")
        print(f"plain webdataset, shuffled in a buffer: {rate(partial(read_webdataset, Path(name))):,.0f} images/s")


if __name__ == "__main__":
    main()
