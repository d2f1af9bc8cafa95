"""The crop of ADM (arXiv 2105.05233), which DiT takes over: every image becomes a square of the same size."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def centre_crop(image: Image.Image, size: int, channels: int = 3) -> NDArray[np.uint8]:
    """Reduce, resize and crop an image of any mode and shape to uint8 (size, size, channels).

    Halved by a 2x2 box while the short side is at least ``2 * size``, then bicubic to a short side of ``size``,
    then the centre. As in ADM, the mode is converted first; what `pixels.flatten` does comes before.

    Args:
        image: any Pillow image.
        size: side of the result, in pixels.
        channels: 3 for RGB, 1 for grey.
    """
    image = image.convert("RGB" if channels == 3 else "L")
    while min(image.size) >= 2 * size:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = size / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    # Sliced as an array: Pillow's own crop would pad an image that rounding made too small instead of failing.
    pixels = np.asarray(image)[top : top + size, left : left + size]
    return pixels.reshape(size, size, channels).copy()
