"""Images as files hold them, to 8-bit RGB or grey: every mode and depth that Pillow gives is converted or refused."""

import contextlib
import math
import os
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, UnidentifiedImageError

from dit_scaling.common.errors import UserError
from dit_scaling.common.foreign import name_foreign

PIXELS_VARIABLE = "DIT_SCALING_MOST_PIXELS"
MOST_PIXELS = "50000000"
"""Of one image, where the variable says nothing: a file of kilobytes can hold as many pixels as it likes."""
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit, in whose place that one stands
ORIENTATION = 0x0112  # of EXIF and TIFF
BITS_PER_SAMPLE, PHOTOMETRIC = 258, 262  # of TIFF
WHITE_IS_ZERO = 0
DEEP = 65535  # white of 16 bits
TURNS = MappingProxyType(
    {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
)
"""What undoes each EXIF orientation but 1, the upright one."""
EIGHT_BITS = frozenset({"1", "L", "P", "RGB", "RGBA", "RGBa", "RGBX", "LA", "La", "PA", "CMYK", "YCbCr", "HSV"})
"""Modes that Pillow converts to RGB and grey with their values kept."""
SCALED_TO_16_BITS = frozenset({"PNG", "PPM", "JPEG2000"})
"""Formats whose grey values of more than 8 bits Pillow gives between 0 and 65535."""
SEVERAL_VIEWS = frozenset({"MPO"})
"""Formats whose further frames are no animation: photos with a preview, or of two lenses."""


class PixelError(ValueError):
    """What is wrong with an image's pixels, without its name."""


@dataclass(frozen=True)
class Traits:
    """What a reader does with an image beyond cropping it."""

    transparent: bool
    """Some pixel is not opaque, so that its colour depends on the background."""
    turned: bool
    """EXIF says that it is not stored upright."""
    animated: bool
    """It has several frames, of which the first is read."""
    deep: bool
    """It has more than 8 bits per channel of grey, which are rounded to 8."""


def flatten(image: Image.Image, channels: int, background: str | None, upright: bool) -> Image.Image:
    """An opened image of any mode as 8-bit RGB (``channels`` 3) or grey (1); of several frames the first.

    Grey values of more than 8 bits are scaled, white to 255. What is transparent is laid over ``background``, a colour
    that Pillow knows by name or #rrggbb; where it is None, the hidden colours are taken as they are stored. Where
    ``upright``, the EXIF orientation is applied.

    Raises:
        PixelError: the mode does not tell which value is white, or Pillow has no conversion for it.
    """
    flat = _to_eight_bits(image)
    # Asked after decoding, because Pillow then has turned a TIFF already, whatever one asks for.
    turn = TURNS.get(orientation(image)) if upright else None
    mode = "RGB" if channels == 3 else "L"
    if background is not None and flat.has_transparency_data:
        pixels = flat.convert("RGBA")
        below = Image.new("RGB", flat.size, ImageColor.getrgb(background)[:3])
        below.paste(pixels.convert("RGB"), mask=pixels.getchannel("A"))
        flat = below
    flat = _in_mode(flat, mode)
    return flat if turn is None else flat.transpose(turn)


def traits(image: Image.Image) -> Traits:
    """What an opened image needs; decodes it only where its header announces transparency."""
    frames = getattr(image, "n_frames", 1) if image.format not in SEVERAL_VIEWS else 1
    return Traits(
        transparent=image.has_transparency_data and _is_transparent(image),
        turned=orientation(image) in TURNS,
        animated=frames > 1,
        deep=image.mode.startswith("I"),
    )


def most_pixels() -> int:
    """Pixels that an image may have, as the environment says.

    Raises:
        UserError: the variable is no number.
    """
    text = os.environ.get(PIXELS_VARIABLE) or MOST_PIXELS
    if not text.isdecimal():
        raise UserError(f"{PIXELS_VARIABLE} is '{text}', which is no number of pixels such as {MOST_PIXELS}.")
    return int(text)


def require_usable(image: Image.Image) -> None:
    """See from its header alone that an opened image can be read.

    Raises:
        PixelError: it has more pixels than `most_pixels`, or a mode that is refused.
    """
    most = most_pixels()
    if math.prod(image.size) > most:
        raise PixelError(
            f"its {image.width} x {image.height} pixels are more than the {most:,} that are read into "
            f"memory; {PIXELS_VARIABLE} sets another limit"
        )
    _white_of(image)


def require_whole(image: Image.Image) -> None:
    """Decode an opened image, whose pixels nobody wants: JPEG at an eighth of its size, in half the time.

    Raises:
        Exception: nearly any, where its content is damaged or cut short.
    """
    image.draft("L", (1, 1))
    image.load()


def describe_fault(content: bytes, error: Exception) -> str:
    """Why an encoded image cannot be read, from what reading it raised."""
    if not isinstance(error, UnidentifiedImageError):
        return str(error) or type(error).__name__
    if not content:
        return "the file is empty"
    foreign = name_foreign(content)
    return f"it is {foreign}" if foreign else "its content is of no image format that is read here"


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) where there is none or the EXIF data are broken."""
    with contextlib.suppress(Exception):  # Pillow raises nearly anything for broken EXIF, which says nothing of pixels
        return int(image.getexif().get(ORIENTATION, 1))
    return 1


def _is_transparent(image: Image.Image) -> bool:
    return bool(np.asarray(_to_eight_bits(image).convert("RGBA"))[..., 3].min() < 255)


def _white_of(image: Image.Image) -> int | None:
    """The value of white where a channel has more than 8 bits; None where it has 8 or fewer."""
    if image.mode in EIGHT_BITS:
        return None
    if image.mode in ("I", "I;16", "I;16B", "I;16L", "I;16N"):
        if image.format in SCALED_TO_16_BITS:
            return DEEP
        if image.format == "TIFF" and image.mode != "I":
            return int(2 ** _tiff_tag(image, BITS_PER_SAMPLE, 16) - 1)
        bits = 32 if image.mode == "I" else 16
        raise PixelError(
            f"whole numbers of {bits} bits in a {image.format or 'nameless'} file do not tell which of them is white; "
            "save it with 8 or 16 bits as PNG"
        )
    if image.mode == "F":
        raise PixelError("floating-point pixels do not tell which value is white; save it with 8 or 16 bits as PNG")
    raise PixelError(f"pixels of mode {image.mode} have no conversion to RGB here; save it as RGB")


def _to_eight_bits(image: Image.Image) -> Image.Image:
    white = _white_of(image)
    image.load()
    if white is None:
        # Pillow takes premultiplied colours apart on this way alone.
        return _in_mode(image, {"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode))
    values = np.asarray(image).astype(np.int64)
    grey = _scaled(values, white)
    if image.format == "TIFF" and _tiff_tag(image, PHOTOMETRIC, 1) == WHITE_IS_ZERO:
        grey = 255 - grey
    hidden = image.info.get("transparency")
    if hidden is None:
        return Image.fromarray(grey)
    alpha = np.where(values == hidden, 0, 255).astype(np.uint8)
    return Image.merge("LA", (Image.fromarray(grey), Image.fromarray(alpha)))


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    """The image in a mode; itself where it is: Pillow would copy it, which costs as much as a twentieth of decoding."""
    return image if image.mode == mode else image.convert(mode)


def _scaled(values: NDArray[np.int64], white: int) -> NDArray[np.uint8]:
    """Whole numbers 0..white to 0..255, rounded."""
    return ((values * 255 + white // 2) // white).clip(0, 255).astype(np.uint8)


def _tiff_tag(image: Image.Image, tag: int, default: int) -> int:
    value = getattr(image, "tag_v2", {}).get(tag, default)
    return int(value[0] if isinstance(value, tuple) else value)
