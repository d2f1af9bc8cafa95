"""Every mode and depth that Pillow gives: a ramp stays a ramp, or is refused by name; alpha, EXIF, frames."""

import io
import struct

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from dit_scaling.data.pixels import EIGHT_BITS, ORIENTATION, PixelError, flatten, orientation, require_usable, traits

GREY = np.tile(np.arange(0, 256, 3, dtype=np.uint8), (8, 1))
DEEP = np.tile(np.linspace(0, 65535, 86).round().astype(np.uint16), (8, 1))
ALL_MODES = (
    "1",
    "CMYK",
    "F",
    "HSV",
    "I",
    "I;16",
    "L",
    "LA",
    "LAB",
    "La",
    "P",
    "PA",
    "RGB",
    "RGBA",
    "RGBX",
    "RGBa",
    "YCbCr",
)


def stored(image: Image.Image, kind: str, **options: object) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return Image.open(io.BytesIO(buffer.getvalue()))


def pixels(image: Image.Image, channels: int = 1, background: str | None = "white") -> NDArray[np.uint8]:
    return np.asarray(flatten(image, channels, background, upright=True))


def tiff(values: NDArray[np.uint16], bits: int, white_is_zero: bool = False) -> Image.Image:
    """A grey TIFF of 12 or 16 bits a pixel, written by hand after TIFF 6.0."""
    height, width = values.shape
    if bits == 12:
        pairs = values.reshape(-1, 2).astype(np.uint32)
        packed = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], axis=1)
        content = packed.astype(np.uint8).tobytes()
    else:
        content = values.astype("<u2").tobytes()
    photometric = 0 if white_is_zero else 1
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, height)]
    tags.append((279, len(content)))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    header = struct.pack("<2sHI", b"II", 42, 8 + len(content))
    return Image.open(io.BytesIO(header + content + struct.pack("<H", len(tags)) + entries + bytes(4)))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG2000", "PPM"])
def test_sixteen_bits_are_scaled_to_eight(kind: str, channels: int) -> None:
    image = stored(Image.fromarray(DEEP), kind, **({"irreversible": False} if kind == "JPEG2000" else {}))
    expected = np.round(DEEP.astype(float) / 65535 * 255)
    found = pixels(image, channels).reshape(*DEEP.shape, -1)
    np.testing.assert_array_equal(found, np.repeat(expected[..., None], channels, axis=-1))
    assert traits(image).deep
    require_usable(image)


@pytest.mark.parametrize("white", [1023, 4095, 65535])
def test_white_of_a_pgm_is_what_its_header_says(white: int) -> None:
    values = np.linspace(0, white, 86).round().astype(np.uint16)
    image = Image.open(io.BytesIO(f"P5\n86 1\n{white}\n".encode() + values.astype(">u2").tobytes()))
    np.testing.assert_allclose(pixels(image)[0], values / white * 255, atol=0.51)


@pytest.mark.parametrize(("bits", "white_is_zero"), [(12, False), (16, False), (16, True)])
def test_depth_and_white_of_a_tiff_are_those_of_its_tags(bits: int, white_is_zero: bool) -> None:
    values = np.tile(np.linspace(0, 2**bits - 1, 86).round().astype(np.uint16), (4, 1))
    ramp = values / (2**bits - 1) * 255
    np.testing.assert_allclose(
        pixels(tiff(values, bits, white_is_zero)), 255 - ramp if white_is_zero else ramp, atol=0.51
    )


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (DEEP.astype(np.int32), "whole numbers of 32 bits in a TIFF file do not tell which of them is white"),
        (DEEP.astype(np.float32), "floating-point pixels do not tell which value is white"),
    ],
)
def test_depths_without_a_white_are_refused_by_name(values: NDArray[np.int32], reason: str) -> None:
    image = stored(Image.fromarray(values), "TIFF")
    with pytest.raises(PixelError, match=reason):
        require_usable(image)
    with pytest.raises(PixelError, match=reason):
        pixels(image)


@pytest.mark.parametrize("mode", ALL_MODES)
def test_a_ramp_of_any_mode_is_a_ramp_or_refused(mode: str) -> None:
    """CMYK, HSV and YCbCr of a grey ramp keep it; the modes with a bit, palette or alpha are built from it."""
    grey = Image.fromarray(GREY)
    if mode in ("RGBa", "La"):
        image = grey.convert(mode.upper()).convert(mode)
    elif mode in ("HSV", "YCbCr", "CMYK", "RGBX", "RGBA"):
        image = grey.convert("RGB").convert(mode)
    else:
        image = Image.new("LAB", grey.size) if mode == "LAB" else grey.convert(mode)
    if mode not in EIGHT_BITS:
        with pytest.raises(PixelError, match=r"white|mode LAB"):
            pixels(image)
        return
    found = pixels(image, 3)
    if mode == "1":
        assert set(found.ravel().tolist()) == {0, 255}
    else:
        np.testing.assert_allclose(found, np.repeat(GREY[..., None], 3, axis=-1), atol=1)


def translucent() -> NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (16, 20, 4), dtype=np.uint8)


@pytest.mark.parametrize(
    ("background", "colour"), [("white", (255,) * 3), ("#102030", (16, 32, 48)), ("grey", (128,) * 3)]
)
def test_transparent_pixels_show_the_background(background: str, colour: tuple[int, int, int]) -> None:
    rgba = translucent()
    found = pixels(stored(Image.fromarray(rgba), "PNG"), 3, background)
    share = rgba[..., 3:] / 255
    np.testing.assert_allclose(found, rgba[..., :3] * share + np.array(colour) * (1 - share), atol=1)


def test_hidden_colours_never_show() -> None:
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[..., 1] = 255
    image = stored(Image.fromarray(rgba), "PNG")
    assert traits(image).transparent
    assert (pixels(image, 3) == 255).all()
    assert (pixels(image, 3, background=None) == [0, 255, 0]).all()


def test_transparency_of_palettes_greys_and_deep_greys() -> None:
    palette = Image.fromarray(GREY).convert("P")
    named = stored(palette, "PNG", transparency=0)
    grey = stored(Image.fromarray(GREY), "PNG", transparency=0)
    deep = stored(Image.fromarray(DEEP), "PNG", transparency=0)
    assert deep.mode == "I;16"
    for image in (named, grey, deep):
        assert traits(image).transparent
        found = pixels(image)
        assert (found[:, 0] == 255).all()
        assert (np.diff(found[0, 1:].astype(int)) >= 0).all()
        assert found[0, 1] < 5


def test_opaque_images_are_what_pillow_converts_them_to() -> None:
    rgba = translucent()
    rgba[..., 3] = 255
    for image in (Image.fromarray(rgba), Image.fromarray(rgba[..., :3]), Image.fromarray(GREY)):
        assert not traits(image).transparent
        for channels, mode in ((3, "RGB"), (1, "L")):
            np.testing.assert_array_equal(pixels(image, channels), np.asarray(image.convert(mode)))


def turned(value: int, kind: str) -> Image.Image:
    exif = Image.Exif()
    exif[ORIENTATION] = value
    return stored(Image.fromarray(translucent()[..., :3]), kind, exif=exif)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("value", range(1, 9))
def test_exif_turns_as_pillow_does(value: int, kind: str) -> None:
    expected = np.asarray(ImageOps.exif_transpose(turned(value, kind)))
    np.testing.assert_array_equal(pixels(turned(value, kind), 3), expected)
    assert traits(turned(value, kind)).turned == (value != 1)


def test_exif_is_ignored_where_it_is_off() -> None:
    image = turned(6, "JPEG")
    np.testing.assert_array_equal(np.asarray(flatten(turned(6, "JPEG"), 3, None, upright=False)), np.asarray(image))


def test_broken_exif_says_nothing_of_the_pixels() -> None:
    buffer = io.BytesIO()
    Image.fromarray(GREY).save(buffer, "JPEG", exif=b"Exif\0\0no TIFF header")
    image = Image.open(io.BytesIO(buffer.getvalue()))
    assert orientation(image) == 1
    assert pixels(image).shape == GREY.shape


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_frames_the_first_is_read(kind: str) -> None:
    frames = [Image.new("RGB", (12, 8), (value,) * 3) for value in (0, 128, 255)]
    image = stored(frames[0], kind, save_all=True, append_images=frames[1:])
    assert traits(image).animated
    assert (pixels(image) == 0).all()
    assert not traits(stored(frames[0], kind)).animated
