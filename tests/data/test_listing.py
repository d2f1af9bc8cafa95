"""What a folder of images holds: suffixes, files of systems, links, names, and what is no file."""

import os
from pathlib import Path

import pytest
from PIL import Image, features

from dit_scaling.common.errors import UserError
from dit_scaling.data.listing import (
    IMAGE_SUFFIXES,
    class_folders,
    image_files,
    nested_folders,
    take_inventory,
    tar_files,
)

# Formats that Pillow knows, but not as one picture that it decodes by itself.
OTHERS = {
    "BLP", "BUFR", "CUR", "DCX", "DDS", "EPS", "FITS", "FLI", "FTEX", "GBR", "GRIB", "HDF5", "ICNS", "ICO", "IM",
    "IPTC", "MPEG", "MSP", "PCD", "PIXAR", "PSD", "WMF", "XBM", "XPM",
}  # fmt: skip
FLOATING_POINT = {".pfm"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    for name in ("rose/0.png", "rose/deep/1.JPG", "tulip/2.jfif"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(root / name)
    return root


def images(root: Path) -> list[str]:
    return sorted(path for name in class_folders(root) for path, _ in image_files(root, name))


def test_suffixes_are_those_of_the_pictures_that_pillow_decodes() -> None:
    assert features.check("avif")
    Image.init()
    registered = {
        suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN.keys() - OTHERS
    }
    assert registered - FLOATING_POINT == IMAGE_SUFFIXES


@pytest.mark.parametrize("folder", ["@eaDir", "#recycle", "lost+found", "__MACOSX", "System Volume Information"])
def test_folders_of_systems_hold_no_images(root: Path, folder: str) -> None:
    before = images(root)
    for place in (root / folder, root / "rose" / folder / "0.png"):
        place.mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(place / "SYNOPHOTO_THUMB_XL.jpg")
    assert images(root) == before
    assert class_folders(root) == ["rose", "tulip"]
    assert folder not in "".join(nested_folders(root, "rose"))
    assert take_inventory(root).left_out == {(folder, "system folder"): 2}


def test_inventory_counts_by_suffix_what_is_used_and_what_is_not(root: Path) -> None:
    for name in ("rose/a.heic", "rose/b.heic", "rose/c.npy", "tulip/Thumbs.db", "tulip/.hidden.png", "loose.png"):
        (root / name).write_text("x")
    (root / "rose/link.png").symlink_to("0.png")
    found = take_inventory(root)
    assert found.used == {".png": 2, ".jpg": 1, ".jfif": 1}
    assert found.left_out == {
        (".heic", "not read; convert them to PNG or JPEG"): 2,
        (".npy", "arrays that do not tell which value is white"): 1,
        (".db", "no suffix of an image"): 1,
        (".png", "hidden"): 1,
        (".png", "outside of the class folders"): 1,
    }
    assert (found.links, found.first_link) == (1, f"{root}/rose/link.png -> 0.png")


def test_links_that_lead_nowhere_are_named_with_their_target_and_counted(root: Path) -> None:
    for name in ("a", "b"):
        (root / f"rose/{name}.png").symlink_to("/nowhere/x.png")
    (root / "rose/notes.txt").symlink_to("/nowhere/notes.txt")
    with pytest.raises(UserError, match=r"2 links lead nowhere: .*rose/a\.png -> /nowhere/x\.png\. Mount"):
        images(root)
    (root / "dead.tar").symlink_to("/nowhere/y.tar")
    with pytest.raises(UserError, match=r"dead\.tar -> /nowhere/y\.tar leads nowhere"):
        tar_files(root)


@pytest.mark.parametrize("link", ["lily", "rose/more"])
def test_a_link_that_leads_nowhere_may_have_been_a_folder(root: Path, link: str) -> None:
    (root / link).symlink_to("/nowhere/flowers")
    with pytest.raises(UserError, match=rf"1 link leads nowhere: .*{link} -> /nowhere/flowers\. Mount"):
        images(root)


def test_class_folders_that_are_links_are_counted(root: Path, tmp_path: Path) -> None:
    (root / "tulip").rename(tmp_path / "elsewhere")
    (root / "tulip").symlink_to(tmp_path / "elsewhere")
    found = take_inventory(root)
    assert (found.links, found.first_link) == (1, f"{root}/tulip -> {tmp_path}/elsewhere")


def test_links_that_go_in_a_circle_are_named(root: Path) -> None:
    for target in ("..", "../..", "."):
        (root / "rose/up").symlink_to(target)
        for read in (images, take_inventory, lambda root: list(nested_folders(root, "rose"))):
            with pytest.raises(UserError, match=rf"rose/up -> {target} leads back to a folder that holds the link"):
                read(root)
        (root / "rose/up").unlink()


def test_links_to_one_another_are_a_circle(root: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (root / "rose/there").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(root / "rose")
    with pytest.raises(UserError, match=r"rose/there/back -> .*rose leads back"):
        images(root)


def test_links_to_folders_beside_are_followed(root: Path) -> None:
    (root / "tulip/others").symlink_to(root / "rose")
    assert images(root) == [
        "rose/0.png",
        "rose/deep/1.JPG",
        "tulip/2.jfif",
        "tulip/others/0.png",
        "tulip/others/deep/1.JPG",
    ]


def test_what_is_no_regular_file_is_never_opened(root: Path) -> None:
    before = images(root)
    os.mkfifo(root / "rose/pipe.png")
    assert images(root) == before
    assert take_inventory(root).left_out == {(".png", "no regular file"): 1}


@pytest.mark.parametrize("name", [b"caf\xe9", b"rose/caf\xe9.png"])
def test_names_that_no_report_can_hold_are_refused_at_once(root: Path, name: bytes) -> None:
    path = root / os.fsdecode(name)
    path.touch() if path.suffix else path.mkdir()
    with pytest.raises(UserError, match=r"caf\\xe9.* is not UTF-8, so that no table or report can hold it\. Rename it"):
        images(root)
