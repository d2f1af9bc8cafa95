"""Fingerprints: what counts as a change of the images, and what does not."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import sha256_file
from dit_scaling.config.image_settings import ImageFolder, Mnist
from dit_scaling.data import fingerprint as module
from dit_scaling.data.fingerprint import cached_fingerprint, cached_sha256, fingerprint, folder_fingerprint


def data(path: Path) -> ImageFolder:
    return ImageFolder(source="image_folder", path=str(path), image_size=8, classes=2, held_out=2)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    for name in ("a/1.png", "a/deep/2.png", "b/3.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * 10)
    settle(root)
    return root


def settle(root: Path) -> None:
    """Make every folder look as if it had been left alone for an hour."""
    then = time.time() - 3600
    for folder, _, _ in os.walk(root):
        os.utime(folder, (then, then))


def add(root: Path) -> None:
    (root / "a/4.png").write_bytes(b"x")


def add_deep(root: Path) -> None:
    (root / "a/deep/4.png").write_bytes(b"x")


def add_class(root: Path) -> None:
    (root / "c").mkdir()
    (root / "c/4.png").write_bytes(b"x")


def remove(root: Path) -> None:
    (root / "b/3.png").unlink()


def rename(root: Path) -> None:
    (root / "b/3.png").rename(root / "b/5.png")


def move(root: Path) -> None:
    (root / "b/3.png").rename(root / "a/3.png")


def replace(root: Path) -> None:
    (root / "new.png").write_bytes(b"x" * 11)
    os.replace(root / "new.png", root / "a/1.png")


CHANGES = [add, add_deep, add_class, remove, rename, move, replace]


@pytest.mark.parametrize("change", CHANGES)
def test_changed_images_change_it(root: Path, change) -> None:
    before = fingerprint(data(root))
    change(root)
    assert fingerprint(data(root)) != before


@pytest.mark.parametrize("change", CHANGES)
def test_changed_images_change_it_with_a_cache(root: Path, change, tmp_path: Path) -> None:
    cache = tmp_path / "cache.json"
    before = cached_fingerprint(data(root), cache)
    assert cache.exists()
    change(root)
    assert cached_fingerprint(data(root), cache) == fingerprint(data(root)) != before


def test_a_copy_has_the_same(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(root, copy, copy_function=shutil.copyfile)
    assert fingerprint(data(copy)) == fingerprint(data(root))


def test_files_that_are_no_images_do_not_count(root: Path) -> None:
    before = fingerprint(data(root))
    (root / "a/readme.txt").write_text("text")
    (root / "a/.hidden.png").write_bytes(b"x")
    assert fingerprint(data(root)) == before


def test_cache_spares_the_listing(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = cached_fingerprint(data(root), tmp_path / "cache.json")

    def forbidden(*_: object) -> None:
        raise AssertionError("listed again")

    monkeypatch.setattr(module, "image_files", forbidden)
    assert cached_fingerprint(data(root), tmp_path / "cache.json") == expected


def test_cache_is_not_kept_of_folders_just_changed(root: Path, tmp_path: Path) -> None:
    add(root)
    cached_fingerprint(data(root), tmp_path / "cache.json")
    assert not (tmp_path / "cache.json").exists()


def test_cache_of_other_images_is_not_believed(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(root, other)
    (other / "a/1.png").write_bytes(b"longer than it was")  # in place: the folder keeps the time it was copied with
    assert (other / "a").stat().st_mtime_ns == (root / "a").stat().st_mtime_ns
    cached_fingerprint(data(root), tmp_path / "cache.json")
    assert cached_fingerprint(data(other), tmp_path / "cache.json") == fingerprint(data(other))


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"path": 1, "folders": 2, "fingerprint": 3}', '"\\udcff"', "\0"]
)
def test_broken_cache_is_made_anew(root: Path, tmp_path: Path, content: str) -> None:
    cache = tmp_path / "cache.json"
    cache.write_text(content)
    assert cached_fingerprint(data(root), cache) == fingerprint(data(root))
    assert cache.read_text() != content


def test_cache_that_cannot_be_written_is_done_without(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert cached_fingerprint(data(root), tmp_path / "file" / "cache.json") == fingerprint(data(root))


def test_missing_folder_is_named_even_with_a_cache(root: Path, tmp_path: Path) -> None:
    cached_fingerprint(data(root), tmp_path / "cache.json")
    shutil.rmtree(root)
    with pytest.raises(UserError, match=r"data\.path: .*images cannot be listed"):
        cached_fingerprint(data(root), tmp_path / "cache.json")


def test_digits_need_no_cache(tmp_path: Path) -> None:
    digits = Mnist(source="mnist", held_out=500)
    assert cached_fingerprint(digits, tmp_path / "cache.json") == fingerprint(digits)
    assert len(fingerprint(digits)) == 16
    assert not (tmp_path / "cache.json").exists()


def test_folder_fingerprint_sees_contents_and_names_but_not_times(tmp_path: Path) -> None:
    folder = tmp_path / "vae"
    (folder / "nested").mkdir(parents=True)
    (folder / "nested/weights").write_bytes(b"123")
    before = folder_fingerprint(folder)
    os.utime(folder / "nested/weights", (1, 1))
    (folder / ".cache").write_text("hidden")
    assert folder_fingerprint(folder) == before
    (folder / "nested/weights").write_bytes(b"124")
    changed = folder_fingerprint(folder)
    (folder / "nested/weights").rename(folder / "weights")
    assert len({before, changed, folder_fingerprint(folder)}) == 3


def test_folder_fingerprint_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a folder"):
        folder_fingerprint(tmp_path / "nothing")


def test_files_of_one_name_are_each_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / folder / "ema.safetensors" for folder in ("XL-2", "B-2")]
    for path in paths:
        path.parent.mkdir()
        path.write_text(str(path))
        os.utime(path, (1, 1))
    digests = [cached_sha256(path, tmp_path / "kept") for path in paths]
    assert digests == [sha256_file(path) for path in paths]

    def unreadable(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(module, "sha256_file", unreadable)
    assert [cached_sha256(path, tmp_path / "kept") for path in paths] == digests
    with pytest.raises(UserError, match=r"XL-2/ema\.safetensors cannot be read: .*Permission denied"):
        cached_sha256(paths[0], tmp_path / "others")


def test_importing_it_needs_neither_torch_nor_numpy() -> None:
    code = (
        "import sys, dit_scaling.data.fingerprint; sys.exit(bool({'torch', 'diffusers', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
