"""The checks of image files before training: what a reader acts on is counted, and is no failure."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dit_scaling.config.image_settings import ImageFolder, Mnist
from dit_scaling.data.pixels import ORIENTATION
from dit_scaling.data.sources import open_source
from dit_scaling.health.preflight.latent_checks import check_colours, check_files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Every image is far from what it would be without its transparency, its EXIF or its depth."""
    (tmp_path / "odd").mkdir()
    clear = np.zeros((8, 8, 4), np.uint8)
    clear[..., 1] = 255
    clear[:, :4, 3] = 255
    Image.fromarray(clear).save(tmp_path / "odd/clear.png")
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    halves = np.zeros((8, 24, 3), np.uint8)
    halves[:, :8] = 255
    Image.fromarray(halves).save(tmp_path / "odd/turned.png", exif=exif)
    Image.fromarray(np.full((8, 8), 20_000, np.uint16)).save(tmp_path / "odd/deep.png")
    return tmp_path


@pytest.mark.parametrize(("background", "upright"), [("white", True), (None, False), ("#102030", True)])
def test_images_read_as_configured_pass(root: Path, background: str | None, upright: bool) -> None:
    data = ImageFolder(
        source="image_folder",
        path=str(root),
        image_size=8,
        classes=1,
        held_out=2,
        background=background,
        exif_transpose=upright,
    )
    source = open_source(data)
    (colours,) = check_colours(source, data)
    assert colours.passed, colours.value
    (files,) = check_files(source, data)
    assert files.passed
    assert files.value == "1 transparent, 1 deep, 1 turned in 3 of 3"
    (root / "odd/broken.png").write_bytes(b"no image")
    (files,) = check_files(open_source(data), data)
    assert not files.passed


def test_generated_and_shipped_images_have_no_files() -> None:
    assert check_files(open_source(digits := Mnist(source="mnist", held_out=10)), digits) == []
