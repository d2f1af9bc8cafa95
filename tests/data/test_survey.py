"""A look at encoded images: counts of what a reader acts on, and classes that are none."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dit_scaling.common.errors import UserError
from dit_scaling.config.image_settings import ImageFolder
from dit_scaling.config.stages import DataSettings
from dit_scaling.data import survey as module
from dit_scaling.data.facts import write_data_facts
from dit_scaling.data.pixels import ORIENTATION
from dit_scaling.data.sources import open_source
from dit_scaling.data.survey import Survey, describe_inventory, require_readable, survey


def data(root: Path, **settings: Any) -> ImageFolder:
    return ImageFolder(source="image_folder", path=str(root), image_size=8, classes=2, held_out=2, **settings)


def look_at(root: Path, limit: int = 2000, **settings: Any) -> Survey:
    return survey(open_source(data(root, **settings)), data(root, **settings), limit)


def noise(seed: int, channels: int = 3) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 10, channels), dtype=np.uint8))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "flowers"
    for seed in range(12):
        folder = root / ("rose" if seed < 6 else "tulip")
        folder.mkdir(parents=True, exist_ok=True)
        noise(seed).save(folder / f"{seed:02d}.png")
    return root


def make_odd(root: Path) -> None:
    noise(20, 4).save(root / "rose/translucent.png")
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    for name in ("one", "two"):
        noise(21).save(root / f"rose/turned-{name}.jpg", exif=exif)
    noise(22).save(root / "tulip/frames.gif", save_all=True, append_images=[noise(23)])
    Image.fromarray(np.arange(96, dtype=np.uint16).reshape(8, 12) * 600).save(root / "tulip/deep.png")
    (root / "tulip/broken.png").write_bytes(b"no image")


def test_plain_images_need_no_word(root: Path) -> None:
    assert look_at(root) == Survey(12, 12, {}, (), ())


def test_what_a_reader_acts_on_is_counted_and_named(root: Path) -> None:
    make_odd(root)
    found = look_at(root)
    assert {name: (trait.count, trait.first) for name, trait in found.traits.items()} == {
        "transparent": (1, "rose/translucent.png"),
        "turned": (2, "rose/turned-one.jpg"),
        "animated": (1, "tulip/frames.gif"),
        "deep": (1, "tulip/deep.png"),
        "unreadable": (1, "tulip/broken.png"),
    }
    text = "\n".join(found.sentences)
    assert "1 of 18 images have transparent pixels; they are laid over white (data.background): rose/tran" in text
    assert "2 of 18 images are not stored upright (EXIF); they are turned upright" in text
    assert "will stop the study: tulip/broken.png (its content is of no image format that is read here)" in text
    as_stored = "\n".join(look_at(root, background=None, exif_transpose=False).sentences)
    assert "the colours that these hide are trained on" in as_stored
    assert "they are read as they are stored (data.exif_transpose: false)" in as_stored


def test_images_that_cannot_be_read_are_refused_with_the_reason(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_readable(look_at(root))
    Image.fromarray(np.zeros((8, 8), np.float32)).save(root / "rose/float.tif")
    with pytest.raises(UserError, match=r"1 of 13 images looked at cannot be read: rose/float\.tif \(floating-point"):
        require_readable(look_at(root))
    monkeypatch.setenv("DIT_SCALING_MOST_PIXELS", "100")  # the others have 120
    with pytest.raises(UserError, match=r"13 of 13 images looked at cannot be read: rose/00\.png \(its 10 x 12 pixels"):
        require_readable(look_at(root))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"format": "MPO"}], ids=str)
def test_photos_cut_short_are_seen_among_those_that_are_decoded(root: Path, options: dict[str, Any]) -> None:
    for path in sorted(root.rglob("*.png")):
        photo = path.with_suffix(".jpg")
        Image.open(path).resize((200, 160)).save(photo, quality=90, **options)
        path.unlink()
    require_readable(look_at(root))
    for photo in root.rglob("*.jpg"):
        photo.write_bytes(photo.read_bytes()[: photo.stat().st_size // 2])
    with pytest.raises(UserError, match=r"12 of 12 images looked at .*: rose/00\.jpg \(.*truncated.*\) first"):
        require_readable(look_at(root))
    assert look_at(root, limit=8).traits["unreadable"].count == 2


def test_of_many_images_a_sample_is_opened(root: Path) -> None:
    make_odd(root)
    found = look_at(root, limit=9)
    assert (found.looked_at, found.images) == (9, 18)
    assert any("of 9 images looked at" in sentence for sentence in found.sentences)


@pytest.mark.parametrize("names", [str, lambda name: f"copy-{name}"])
def test_classes_of_the_same_files_are_doubted(root: Path, names: Any) -> None:
    shutil.rmtree(root / "tulip")
    (root / "tulip").mkdir()
    for path in (root / "rose").iterdir():
        shutil.copy(path, root / "tulip" / names(path.name))
    (doubt,) = look_at(root).doubts
    assert "lie in more than one class, as rose/0" in doubt


def test_copies_are_found_among_images_of_one_size(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """BMPs of one shape have one size; the sample then takes the first of each class."""
    monkeypatch.setattr(module, "HASHED", 4)
    for path in sorted(root.rglob("*.png")):
        Image.open(path).save(path.with_suffix(".bmp"))
        path.unlink()
    assert look_at(root).doubts == ()
    shutil.copy(root / "rose/00.bmp", root / "tulip/00.bmp")
    (doubt,) = look_at(root).doubts
    assert doubt.startswith(
        "2 of 4 images of equal size in bytes lie in more than one class, as rose/00.bmp and tulip/00."
    )


def test_folders_of_parts_are_doubted(root: Path) -> None:
    (root / "rose").rename(root / "train")
    (root / "tulip").rename(root / "val")
    assert look_at(root).doubts == (
        "the class folders are called train, val: are they parts of one data set, each with its classes?",
    )


def test_inventory_is_said(root: Path) -> None:
    (root / "rose/a.heic").write_text("x")
    assert describe_inventory(data(root)) == [
        "12 .png used",
        "left out: 1 .heic (not read; convert them to PNG or JPEG)",
    ]


def test_facts_hold_it(root: Path, tmp_path: Path) -> None:
    make_odd(root)
    (root / "tulip/broken.png").unlink()
    write_data_facts(DataSettings(data=data(root), seed=0, fingerprint=""), tmp_path / "data.json")
    facts = json.loads((tmp_path / "data.json").read_text())
    assert facts["images_looked_at"] == 17
    assert any(sentence.startswith("2 of 17 images are not stored upright") for sentence in facts["found_in_images"])
