"""Pictures as data URIs: samples and reconstructions shrunk to what a page can carry."""

import base64
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dit_scaling.common.errors import UserError

SAMPLES_SHOWN = 10
COLUMNS = 5
THUMBNAIL = 96  # pixels; larger samples are shrunk to it
WIDEST = 1200
LOSSLESS_PIXELS = 60_000  # larger pictures become JPEG


def embed_picture(path: Path) -> str:
    """Any picture as a data URI, at most ``WIDEST`` pixels wide or high.

    Raises:
        UserError: the file is missing or no picture.
    """
    try:
        with Image.open(path) as picture:
            picture.thumbnail((WIDEST, WIDEST))
            return encode_picture(picture)
    except OSError as error:
        raise UserError(f"{path} cannot be read as a picture ({error}). Delete it and rerun its stage.") from None


def embed_images(images: NDArray[np.uint8], columns: int = COLUMNS) -> str:
    """Images (N, H, W, C) joined to one picture, as a data URI."""
    return encode_picture(join_images(images, columns))


def join_images(images: NDArray[np.uint8], columns: int = COLUMNS) -> Image.Image:
    """Images (N, H, W, C) in rows of ``columns``, shrunk to ``THUMBNAIL`` pixels, a pixel of grey between them."""
    thumbnails = [_shrink(image) for image in images]
    width, height = thumbnails[0].size
    rows = -(-len(thumbnails) // columns)
    sheet = Image.new(thumbnails[0].mode, (columns * (width + 1) - 1, rows * (height + 1) - 1), "gray")
    for number, thumbnail in enumerate(thumbnails):
        sheet.paste(thumbnail, ((number % columns) * (width + 1), (number // columns) * (height + 1)))
    return sheet


def _shrink(image: NDArray[np.uint8]) -> Image.Image:
    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    return picture


def encode_picture(picture: Image.Image) -> str:
    """A picture as a data URI: PNG where it is small, JPEG else."""
    stream = BytesIO()
    if picture.width * picture.height <= LOSSLESS_PIXELS or picture.mode not in ("L", "RGB"):
        picture.save(stream, "PNG", optimize=True)
        return _uri("png", stream.getvalue())
    picture.save(stream, "JPEG", quality=88)
    return _uri("jpeg", stream.getvalue())


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
