"""Samples of any origin: the same pixels from npz, folder and tar, in batches, and what is refused."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dit_scaling.common.errors import UserError
from dit_scaling.data.crop import centre_crop
from dit_scaling.metrics.loose_images import open_images

PICTURES: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, size=(11, 12, 16, 3), dtype=np.uint8)


def encoded(picture: NDArray[np.uint8], kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, kind)
    return stream.getvalue()


def as_npz(folder: Path) -> Path:
    np.savez(folder / "samples.npz", arr_0=PICTURES)
    return folder / "samples.npz"


def as_folder(folder: Path) -> Path:
    for number, picture in enumerate(PICTURES):
        file = folder / "samples" / f"class-{number // 6}" / f"{number:03d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded(picture))
    (folder / "samples" / "notes.txt").write_text("no image")
    return folder / "samples"


def as_tar(folder: Path, name: str = "samples.tar", mode: str = "w") -> Path:
    with tarfile.open(folder / name, mode) as archive:
        for number, picture in enumerate(PICTURES):
            content = encoded(picture)
            for suffix, some in (("png", content), ("cls", b"0")):
                member = tarfile.TarInfo(f"{number:03d}.{suffix}")
                member.size = len(some)
                archive.addfile(member, io.BytesIO(some))
    return folder / name


def as_folder_of_tars(folder: Path) -> Path:
    (folder / "tars").mkdir()
    as_tar(folder / "tars", "shard-0.tar")
    return folder / "tars"


@pytest.mark.parametrize("made", [as_npz, as_folder, as_tar, as_folder_of_tars])
def test_every_form_gives_the_same_pixels_in_batches(made: object, tmp_path: Path) -> None:
    images = open_images(made(tmp_path))  # type: ignore[operator]
    batches = list(images.batches(4))
    assert images.count == 11
    assert [len(batch) for batch in batches] == [4, 4, 3]
    assert np.array_equal(np.concatenate(batches), PICTURES)
    assert dict(images.sizes) == {(12, 16): 11}
    assert images.lossy == 0


def test_a_compressed_tar_is_read(tmp_path: Path) -> None:
    images = open_images(as_tar(tmp_path, "samples.tar.gz", "w:gz"))
    assert np.array_equal(np.concatenate(list(images.batches(4))), PICTURES)


def test_grey_images_get_equal_channels(tmp_path: Path) -> None:
    np.savez(tmp_path / "grey.npz", arr_0=PICTURES[..., :1])
    Image.fromarray(PICTURES[0, ..., 0]).save(tmp_path / "grey.png")
    (first,) = open_images(tmp_path / "grey.npz").batches(20)
    (second,) = open_images(tmp_path).batches(20)
    for pixels in (first[0], second[0]):
        assert np.array_equal(pixels, np.repeat(PICTURES[0, ..., :1], 3, axis=2))


def test_a_lossy_format_is_counted(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(PICTURES[0], "JPEG"))
    (tmp_path / "b.png").write_bytes(encoded(PICTURES[1]))
    images = open_images(tmp_path)
    list(images.batches(4))
    assert images.lossy == 1


def test_images_of_two_sizes_are_refused_unless_cropped(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(PICTURES[0]))
    (tmp_path / "b.png").write_bytes(encoded(PICTURES[1, :10]))
    with pytest.raises(UserError, match=r"b\.png has 16 x 10 pixels.*16 x 12"):
        list(open_images(tmp_path).batches(4))
    (cropped,) = open_images(tmp_path).batches(4, side=8)
    assert np.array_equal(cropped[1], centre_crop(Image.fromarray(PICTURES[1, :10]), 8))


@pytest.mark.parametrize("content", ["missing", "empty", "text", "no arr_0", "tar of nothing", "torn image"])
def test_what_holds_no_images_is_named(content: str, tmp_path: Path) -> None:
    path = tmp_path / "samples.npz"
    if content == "empty":
        path.mkdir()
    elif content == "text":
        path.write_text("no archive")
    elif content == "no arr_0":
        np.savez(path, other=PICTURES)
    elif content == "tar of nothing":
        tarfile.open(path, "w").close()
    elif content == "torn image":
        path.mkdir()
        (path / "a.png").write_bytes(encoded(PICTURES[0])[:60])
    with pytest.raises(UserError, match=r"samples\.npz"):
        list(open_images(path).batches(4))


def test_what_an_npz_holds_in_place_of_images_is_said(tmp_path: Path) -> None:
    np.savez(tmp_path / "stats.npz", m=np.zeros(3), s=np.zeros((3, 3)))
    with pytest.raises(UserError, match=r"it holds m, s\. A reference may have mu and sigma"):
        open_images(tmp_path / "stats.npz")


def test_hidden_folders_and_those_of_systems_are_left_out(tmp_path: Path) -> None:
    for folder in (".ipynb_checkpoints", "@eaDir", "class-0"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").write_bytes(encoded(PICTURES[0]))
    assert open_images(tmp_path).count == 1
    (tmp_path / "b.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"^1 link leads nowhere: .*b\.png"):
        open_images(tmp_path)


def test_a_damaged_tar_is_refused_and_not_cut_short(tmp_path: Path) -> None:
    content = bytearray(as_tar(tmp_path).read_bytes())
    content[bytes(content).index(b"005.png") + 150] ^= 1  # the checksum of a header looks like the end
    (tmp_path / "samples.tar").write_bytes(content)
    with pytest.raises(UserError, match=r"samples\.tar cannot be read as a tar \(no header"):
        open_images(tmp_path / "samples.tar")


@pytest.mark.parametrize("mode", ["w:gz", "w:xz"])
def test_a_damaged_compressed_tar_is_named(tmp_path: Path, mode: str) -> None:
    path = as_tar(tmp_path, "samples.tar.x", mode)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 50] = bytes(50)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"samples\.tar\.x cannot be read as a tar"):
        open_images(path)


def test_a_folder_of_a_studys_samples_leads_to_the_command_that_joins_them(tmp_path: Path) -> None:
    parts = tmp_path / "guidance-1.0" / "samples"
    parts.mkdir(parents=True)
    for name in ("part-00000.npz", "part-00000.provenance.json"):
        (parts / name).touch()
    (parts / "part-00000.png").write_bytes(encoded(PICTURES[0]))
    for folder in (parts, parts.parent):
        with pytest.raises(UserError, match=r"in parts\. .*export-samples \S*guidance-1\.0 samples\.npz"):
            open_images(folder)
