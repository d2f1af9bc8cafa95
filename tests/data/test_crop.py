"""ADM's crop against a second, literal statement of it with Pillow's own operations, and against closed forms."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dit_scaling.data.crop import centre_crop


def stated_literally(image: Image.Image, size: int) -> np.ndarray:
    """ADM's data loader in words: to RGB, halve, shrink, crop."""
    image = image.convert("RGB")
    width, height = image.size
    while min(width, height) >= 2 * size:
        width, height = width // 2, height // 2
        image = image.resize((width, height), resample=Image.BOX)
    scale = size / min(width, height)
    width, height = round(width * scale), round(height * scale)
    image = image.resize((width, height), resample=Image.BICUBIC)
    left, upper = (width - size) // 2, (height - size) // 2
    return np.array(image.crop((left, upper, left + size, upper + size)))


def random_image(width: int, height: int, mode: str, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)
    if mode in ("RGBA", "CMYK"):
        return Image.frombytes(mode, (width, height), pixels.tobytes())
    if mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    return Image.fromarray(pixels[..., :3].copy()).convert(mode)


@settings(max_examples=60, deadline=None)
@given(width=st.integers(1, 150), height=st.integers(1, 150), size=st.sampled_from([1, 7, 16, 32]))
def test_equals_the_literal_statement_at_any_shape(width: int, height: int, size: int) -> None:
    image = random_image(width, height, "RGB")
    np.testing.assert_array_equal(centre_crop(image, size), stated_literally(image, size))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I", "F", "I;16"])
@pytest.mark.parametrize("shape", [(100, 70), (16, 16), (33, 200), (40, 1)])
def test_equals_the_literal_statement_in_any_mode(mode: str, shape: tuple[int, int]) -> None:
    image = random_image(*shape, "RGB" if mode == "LAB" else mode)
    if mode == "LAB":
        image = Image.frombytes("LAB", shape, image.tobytes())
    try:
        expected = stated_literally(image, 16)
    except ValueError:
        with pytest.raises(ValueError, match="conversion"):
            centre_crop(image, 16)
    else:
        np.testing.assert_array_equal(centre_crop(image, 16), expected)


def test_palette_with_transparency_equals_the_literal_statement() -> None:
    image = random_image(50, 40, "P")
    image.info["transparency"] = 3
    np.testing.assert_array_equal(centre_crop(image, 16), stated_literally(image, 16))


def test_exif_orientation_is_not_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    upright = random_image(40, 20, "RGB")
    upright.save(buffer, "PNG", exif=exif)
    rotated = Image.open(buffer)
    assert rotated.getexif()[0x0112] == 6
    np.testing.assert_array_equal(centre_crop(rotated, 16), centre_crop(upright, 16))


def test_an_image_of_the_right_size_is_unchanged() -> None:
    image = random_image(16, 16, "RGB")
    np.testing.assert_array_equal(centre_crop(image, 16), np.array(image))


def test_the_centre_is_cut_out_of_a_wide_image() -> None:
    pixels = np.zeros((2, 5, 3), dtype=np.uint8)
    pixels[...] = np.array([10, 20, 30, 40, 50], dtype=np.uint8)[None, :, None]
    np.testing.assert_array_equal(centre_crop(Image.fromarray(pixels), 2)[0, :, 0], [20, 30])


def test_halving_takes_the_mean_of_four_pixels() -> None:
    pixels = np.array([[0, 8, 100, 100], [16, 24, 100, 100], [50, 50, 7, 7], [50, 50, 7, 7]], dtype=np.uint8)
    np.testing.assert_array_equal(centre_crop(Image.fromarray(pixels), 2, 1)[..., 0], [[12, 100], [50, 7]])


def test_a_line_one_pixel_high_becomes_a_square_of_its_middle() -> None:
    pixels = np.array([[0, 0, 0, 90, 90, 90, 90, 90, 255, 255, 255]], dtype=np.uint8)
    cropped = centre_crop(Image.fromarray(pixels), 4, 1)
    assert cropped.shape == (4, 4, 1)
    np.testing.assert_array_equal(cropped, np.full((4, 4, 1), 90))


@pytest.mark.parametrize("channels", [1, 3])
def test_result_is_writable_uint8_of_the_asked_channels(channels: int) -> None:
    cropped = centre_crop(random_image(8, 8, "RGBA"), 8, channels)
    assert cropped.shape == (8, 8, channels)
    assert cropped.dtype == np.uint8
    assert cropped.flags.writeable
    assert cropped.flags.c_contiguous


def test_grey_is_converted_before_it_is_resized() -> None:
    image = random_image(64, 64, "RGB")
    expected = stated_literally(image.convert("L"), 16)[..., :1]
    np.testing.assert_array_equal(centre_crop(image, 16, 1), expected)


# --- against arithmetic of our own: no resampling of Pillow's


def resample(pixels: np.ndarray, length: int, kernel: str) -> np.ndarray:
    """Pillow's antialiased resampling along axis 0 in its 22-bit fixed point, uint8 (n, ...) to (length, ...)."""
    if length == len(pixels):
        return pixels
    step = len(pixels) / length
    stretch = max(step, 1.0)
    support = {"box": 0.5, "bicubic": 2.0}[kernel] * stretch
    rows = []
    for row in range(length):
        centre = (row + 0.5) * step
        first, last = max(int(centre - support + 0.5), 0), min(int(centre + support + 0.5), len(pixels))
        at = (np.arange(first, last) - centre + 0.5) / stretch
        if kernel == "box":
            weights = ((at > -0.5) & (at <= 0.5)).astype(float)
        else:  # Keys' cubic with a = -0.5
            x = np.abs(at)
            near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
            weights = np.where(x < 1, near, np.where(x < 2, far, 0.0))
        weights = weights / weights.sum()
        fixed = np.trunc(weights * (1 << 22) + np.where(weights < 0, -0.5, 0.5)).astype(np.int64)
        rows.append((np.tensordot(fixed, pixels[first:last].astype(np.int64), 1) + (1 << 21)) >> 22)
    return np.clip(np.stack(rows), 0, 255).astype(np.uint8)


def crop_by_arithmetic(pixels: np.ndarray, size: int) -> np.ndarray:
    """ADM's crop of an RGB array (H, W, 3): columns first, then rows, as Pillow orders its passes."""

    def resize(pixels: np.ndarray, height: int, width: int, kernel: str) -> np.ndarray:
        return resample(resample(pixels.swapaxes(0, 1), width, kernel).swapaxes(0, 1), height, kernel)

    height, width = pixels.shape[:2]
    while min(height, width) >= 2 * size:
        height, width = height // 2, width // 2
        pixels = resize(pixels, height, width, "box")
    scale = size / min(height, width)
    pixels = resize(pixels, round(height * scale), round(width * scale), "bicubic")
    top, left = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
    return pixels[top : top + size, left : left + size]


@pytest.mark.parametrize(
    ("width", "height"),
    [
        (64, 64),
        (65, 67),
        (31, 33),
        (32, 32),
        (16, 40),
        (200, 131),
        (131, 77),
        (9, 5),
        (1, 1),
        (40, 1),
        (1, 40),
        (97, 32),
    ],
)
def test_equals_arithmetic_without_pillow_bit_for_bit(width: int, height: int) -> None:
    image = random_image(width, height, "RGB", seed=width)
    np.testing.assert_array_equal(centre_crop(image, 16), crop_by_arithmetic(np.array(image), 16))


@pytest.mark.parametrize("kind", ["L", "P", "CMYK"])
def test_modes_equal_arithmetic_on_their_stated_conversion(kind: str) -> None:
    image = random_image(75, 50, kind)
    stored = np.array(image)
    if kind == "L":
        rgb = np.repeat(stored[..., None], 3, axis=2)
    elif kind == "P":
        rgb = np.array(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)[stored]
    else:  # light left by black, less each ink's share of it; x * y / 255 as Pillow rounds it
        inks, light = stored[..., :3].astype(int), 255 - stored[..., 3:].astype(int)
        product = inks * light + 128
        rgb = (light - ((product >> 8) + product >> 8)).astype(np.uint8)
    np.testing.assert_array_equal(centre_crop(image, 16), crop_by_arithmetic(rgb, 16))


def test_exif_rotated_jpeg_is_taken_as_it_lies() -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    buffer = io.BytesIO()
    random_image(60, 30, "RGB").save(buffer, "JPEG", exif=exif)
    with Image.open(buffer) as stored:
        lying = np.array(stored)
    with Image.open(buffer) as image:
        np.testing.assert_array_equal(centre_crop(image, 16), crop_by_arithmetic(lying, 16))
