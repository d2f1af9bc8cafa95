"""Reading images from Parquet files, beside an ImageFolder of the same JPEGs, both from the page cache.

The files are as the Hugging Face hub has ImageNet: row groups of 100 images, compressed with snappy. The peer is
torchvision's, with Pillow's loader; both sides open their images anew in each run and crop as ADM does.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.row import Outcome, Row, Setting, Side, at_least, equal_within, timed
from dit_scaling.config.image_settings import Parquet
from dit_scaling.data.crop import centre_crop
from dit_scaling.data.reading_order import together
from dit_scaling.data.sources import open_source
from dit_scaling.data.split import split_indices

SIZE = 256
HELD_OUT = 2
CLASSES = 2
ROWS_OF_GROUP = 100
WIDTH, HEIGHT = 500, 375  # of most of ImageNet's photos


def jpeg(number: int) -> bytes:
    """A picture of coloured clouds and grain, of about the bytes of one of ImageNet."""
    rng = np.random.default_rng(number)
    clouds = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    smooth = np.asarray(clouds.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), dtype=np.int16)
    grain = rng.integers(-12, 13, smooth.shape, dtype=np.int16)
    buffer = io.BytesIO()
    Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def write_images(setting: Setting) -> Path:
    """The same JPEGs in a folder of classes and in Parquet files."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    root, count = setting.folder / "images", setting.choose(200, 8)
    if root.exists():
        return root
    images = [jpeg(number) for number in range(count)]
    labels = np.arange(count) * CLASSES // count
    for number, image in enumerate(images):
        path = root / "folder" / f"class-{labels[number]}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image)
    structs = [{"bytes": image, "path": f"{number:05d}.jpg"} for number, image in enumerate(images)]
    (root / "parquet").mkdir()
    pq.write_table(
        pa.table({"image": structs, "label": labels}),
        root / "parquet" / "train-00000-of-00001.parquet",
        row_group_size=ROWS_OF_GROUP,
    )
    return root


def settings(path: Path) -> dict[str, Any]:
    """What a study says of its images."""
    return {"path": str(path), "image_size": SIZE, "classes": CLASSES, "held_out": HELD_OUT}


def read_parquet(setting: Setting) -> Side:
    """Row group by row group, as the job of a shard does."""
    root, seen = write_images(setting), dict[int, int]()

    def run() -> None:
        seen.clear()
        source = open_source(Parquet(source="parquet", **settings(root / "parquet")))
        for index in together(source, split_indices(len(source), HELD_OUT, 0)[0]).tolist():
            seen[index] = int(source.image(index).sum())

    return timed(run, lambda: sums(seen))


def read_folder(setting: Setting) -> Side:
    """File by file, in shuffled order."""
    from torchvision.datasets import ImageFolder

    root, seen = write_images(setting), dict[int, int]()

    def run() -> None:
        seen.clear()
        images = ImageFolder(str(root / "folder"), transform=lambda image: centre_crop(image, SIZE))
        for index in split_indices(len(images), HELD_OUT, 0)[0].tolist():
            seen[index] = int(images[index][0].sum())

    return timed(run, lambda: sums(seen))


def sums(seen: dict[int, int]) -> Outcome:
    """Sum of the pixels of each image, in the order of the data set."""
    return {"sum of each image's pixels": [seen[index] for index in sorted(seen)]}


ROWS = (
    Row(
        name="parquet-images",
        what=f"a shard of JPEGs of {WIDTH} x {HEIGHT} from Parquet, cropped to {SIZE} x {SIZE}",
        peer="torchvision's ImageFolder of the same JPEGs and the same crop",
        make_ours=read_parquet,
        make_peer=read_folder,
        agree=equal_within(0.0),
        target=at_least(1.0),
        threads=1,
    ),
)
