"""Webdataset tars as a source: against the webdataset package's own reading, and what is refused."""

import io
import json
import os
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image

from dit_scaling.common.errors import UserError
from dit_scaling.config.image_settings import WebDataset
from dit_scaling.data import tars as module
from dit_scaling.data.crop import centre_crop
from dit_scaling.data.fingerprint import cached_fingerprint, fingerprint
from dit_scaling.data.sources import check_source, open_source, read_images


def data(path: Path, classes: int = 3) -> WebDataset:
    return WebDataset(source="webdataset", path=str(path), image_size=8, classes=classes, held_out=2)


def encoded(seed: int, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 10, 3), dtype=np.uint8)).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two tars of four images, one of them in a folder inside the tar, with members that are none of our business."""
    root = tmp_path / "tars"
    root.mkdir()
    for number in (1, 0):
        with webdataset.TarWriter(str(root / f"train-{number}.tar"), encoder=False) as writer:
            for index in range(4):
                seed = 4 * number + index
                writer.write(
                    {
                        "__key__": f"n{index % 2}/image_{seed}",
                        ("JPEG" if index % 2 else "png"): encoded(seed, "JPEG" if index % 2 else "PNG"),
                        "cls": f"{seed % 3}\n".encode(),
                        "json": json.dumps({"seed": seed}).encode(),
                        "seg.png": b"a mask, no image of its own",
                    }
                )
    (root / "notes.txt").write_text("no tar")
    return root


def write_tar(path: Path, members: list[tuple[str, bytes]], kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "elsewhere"
            member.size = len(content) if kind == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(content))
    return path


def test_samples_are_those_of_webdataset_in_its_order(root: Path) -> None:
    source = open_source(data(root))
    theirs = list(webdataset.WebDataset(sorted(map(str, root.glob("*.tar"))), shardshuffle=False))
    assert len(source) == len(theirs) == 8
    for index, sample in enumerate(theirs):
        assert source.keys[index] == f"{Path(sample['__url__']).name}/{sample['__key__']}"
        assert source.labels[index] == int(sample["cls"])
        with Image.open(io.BytesIO(sample.get("png") or sample["jpeg"])) as image:
            np.testing.assert_array_equal(source.image(index), centre_crop(image, 8))
    assert source.class_names == ["0", "1", "2"]
    assert source.labels.dtype == np.int64


def test_images_read_in_any_order(root: Path) -> None:
    source = open_source(data(root))
    order = np.array([6, 1, 6, 0])
    np.testing.assert_array_equal(read_images(source, order), np.stack([source.image(index) for index in order]))


def test_an_image_is_read_without_the_rest_of_its_tar(root: Path) -> None:
    index = module.open_tars(root)
    source = open_source(data(root))
    expected = source.image(5)
    path = root / "train-1.tar"
    content = bytearray(len(path.read_bytes()))
    first, last = int(index.offset[5]), int(index.offset[5] + index.size[5])
    content[first:last] = path.read_bytes()[first:last]
    path.write_bytes(content)  # everything else is gone
    np.testing.assert_array_equal(source.image(5), expected)


def test_index_is_kept_and_made_again_when_a_tar_changes(root: Path) -> None:
    before = open_source(data(root)).keys
    made = (root / module.INDEX_FILE).stat().st_ino
    assert open_source(data(root)).keys == before
    assert (root / module.INDEX_FILE).stat().st_ino == made
    then = time.time() - 3600
    os.utime(root / "train-0.tar", (then, then))
    assert open_source(data(root)).keys == before
    assert (root / module.INDEX_FILE).stat().st_ino != made


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"\x93NUMPY"])
def test_broken_index_is_made_again(root: Path, content: bytes) -> None:
    before = open_source(data(root)).keys
    (root / module.INDEX_FILE).write_bytes(content)
    assert open_source(data(root)).keys == before


def test_index_with_pickled_content_is_not_loaded(root: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
            return (Path.touch, (root / "exploded",))  # type: ignore[return-value]

    before = open_source(data(root)).keys
    with np.load(root / module.INDEX_FILE) as arrays:
        content = {**arrays, "keys": np.array([Bomb()], dtype=object)}
    np.savez(root / module.INDEX_FILE, **content)
    assert open_source(data(root)).keys == before
    assert not (root / "exploded").exists()


def test_folder_that_cannot_be_written_to_is_no_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module, "atomic_path", refused)
    assert len(open_source(data(root))) == 8
    assert not (root / module.INDEX_FILE).exists()


PNG = encoded(0)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("../../etc/a.png", PNG), ("../../etc/a.cls", b"0")], "leads out of the tar"),
        ([("/etc/a.png", PNG), ("/etc/a.cls", b"0")], "leads out of the tar"),
        ([("a\\..\\b.png", PNG), ("a\\..\\b.cls", b"0")], "leads out of the tar"),
        ([("a.png", PNG)], r"sample a \(\.png\) has no number of a class; wanted is one image each"),
        ([("a.cls", b"0")], r"sample a \(\.cls\) has 0 images"),
        ([("a.heic", PNG), ("a.cls", b"0")], r"sample a \(\.heic, \.cls\) has 0 images"),
        ([("a.png", PNG), ("a.jpg", PNG), ("a.cls", b"0")], r"sample a \(\.png, \.jpg, \.cls\) has 2 images"),
        ([("a.png", PNG), ("a.cls", b"3"), ("a.cls", b"4")], r"a\.cls is there twice"),
        ([("a.png", PNG), ("a.PNG", PNG), ("a.cls", b"3")], r"a\.PNG is there twice"),
        ([("a.png", PNG), ("a.json", b'{"label": 0, "label": 1}')], r"a\.json: the key 'label' stands there twice"),
        ([("a.png", PNG), ("a.json", b'{"label": 0, "cls": 1}')], r"a\.json tells more than one class: \[0, 1\]"),
        ([("a.png", PNG), ("a.json", b'{"label": 0}'), ("a.txt", b"1")], r"more than one class: \.txt 1, \.json 0"),
        ([("a.png", PNG), ("a.json", b'{"label": true}')], r"\(\.png, \.json\) has no number of a class"),
        ([("a.png", PNG), ("a.json", b"no json")], r"\(\.png, \.json\) has no number of a class"),
        ([("a.png", PNG), ("a.txt", b"a rose")], r"\(\.png, \.txt\) has no number of a class"),
        ([("a.png", PNG), ("a.cls.txt", b"rose")], r"a\.cls\.txt is no number"),
        (
            [("a.png", PNG), ("a.cls", b"0"), ("b.png", PNG), ("b.cls", b"0"), ("a.txt", b"")],
            "do not follow each other",
        ),
        ([("a.png", PNG), ("a.cls", b"cat")], r"a\.cls is no number"),
        ([("a.png", PNG), ("a.cls", b"-1")], r"a\.cls is no number"),
        ([("a.png", PNG), ("a.cls", b"0" * 30)], r"a\.cls is no number"),
        ([("a.png", PNG), ("a.cls", b"")], r"a\.cls is no number"),
    ],
)
def test_tar_of_a_wrong_content_is_refused_by_name(
    tmp_path: Path, members: list[tuple[str, bytes]], reason: str
) -> None:
    write_tar(tmp_path / "bad.tar", members)
    with pytest.raises(UserError, match=rf"bad\.tar is no usable webdataset tar: .*{reason}"):
        open_source(data(tmp_path))
    assert not (tmp_path / module.INDEX_FILE).exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_images_that_are_links_are_refused(tmp_path: Path, kind: bytes) -> None:
    write_tar(tmp_path / "links.tar", [("a.PNG", b""), ("a.cls", b"")], kind)
    with pytest.raises(UserError, match=r"member 'a\.PNG' is a link to 'elsewhere' .*--hard-dereference"):
        open_source(data(tmp_path))


def test_hard_links_as_tar_writes_them_lose_no_image(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    os.link(tmp_path / "a.png", tmp_path / "b.png")
    (tmp_path / "set").mkdir()
    with tarfile.open(tmp_path / "set/a.tar", "w") as archive:
        for key in ("a", "b"):
            (tmp_path / f"{key}.json").write_text('{"label": 0}')
            archive.add(tmp_path / f"{key}.png", f"{key}.png")
            archive.add(tmp_path / f"{key}.json", f"{key}.json")
    with pytest.raises(UserError, match=r"member 'b\.png' is a link to 'a\.png'"):
        open_source(data(tmp_path / "set"))


def test_images_whose_names_hold_dots_are_not_left_out(tmp_path: Path) -> None:
    dotted = [
        (f"IMG_2020.01.{n}.{suffix}", content) for n in (1, 2) for suffix, content in (("png", PNG), ("cls", b"0"))
    ]
    write_tar(tmp_path / "a.tar", [("a.png", PNG), ("a.cls", b"0"), *dotted])
    with pytest.raises(UserError, match=r"member 'IMG_2020\.01\.1\.png' is left over: a key ends at the first dot"):
        open_source(data(tmp_path))


def test_an_index_by_other_rules_is_made_anew(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INDEXED", 1)
    module.open_tars(root)
    made = (root / module.INDEX_FILE).stat().st_ino
    monkeypatch.undo()
    module.open_tars(root)
    assert (root / module.INDEX_FILE).stat().st_ino != made


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        ("cls", b"2"),
        ("cls.txt", b"2\n"),
        ("txt", b"2"),
        ("json", b'{"label": 2, "caption": "a rose"}'),
        ("json", b'{"class_id": 2, "cls": 2}'),
    ],
)
def test_labels_are_read_wherever_they_are_unambiguous(tmp_path: Path, suffix: str, content: bytes) -> None:
    write_tar(tmp_path / "a.tar", [(f"a.{suffix}", content), ("a.png", PNG)])
    assert module.open_tars(tmp_path).label.tolist() == [2]


def test_what_belongs_to_no_image_is_counted(tmp_path: Path) -> None:
    others = [("README.md", b"x"), ("b.txt", b"a caption alone"), ("c.npy", b"x"), ("d.npy", b"x")]
    write_tar(tmp_path / "a.tar", [*others, ("a.png", PNG), ("a.cls", b"0")])
    for _ in ("made", "kept"):
        index = module.open_tars(tmp_path)
        assert (index.keys, index.left_out) == (["a.tar/a"], {"md": 1, "txt": 1, "npy": 2})


def test_tars_without_samples_list_what_they_hold_and_what_is_wanted(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [("a.npy", b"x"), ("b.npy", b"x"), ("c.txt", b"x")])
    with pytest.raises(UserError, match=r"hold no samples: 2 \.npy, 1 \.txt\. Wanted is one image each \(\.png"):
        open_source(data(tmp_path))


def test_names_of_classes_come_from_a_file(root: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("ant\nbee\ncat\n")
    named = data(root).model_copy(update={"class_names": str(tmp_path / "names.txt")})
    assert open_source(named).class_names == ["ant", "bee", "cat"]
    (tmp_path / "names.txt").write_text("ant\nbee\nant\n")
    with pytest.raises(UserError, match="holds 'ant' twice"):
        open_source(named)


def compress(path: Path) -> None:
    import gzip

    path.write_bytes(gzip.compress(path.read_bytes()))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:2000])


def scribble(path: Path) -> None:
    """Damage the header of the second image, which tarfile alone would take for the end."""
    content = bytearray(path.read_bytes())
    second = content.index(b"image_1")
    content[second - 3 : second + 200] = b"x" * 203
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [compress, cut, scribble, lambda path: path.write_bytes(b"no tar" * 200)])
def test_damaged_tar_is_named(root: Path, damage: Callable[[Path], object]) -> None:
    damage(root / "train-0.tar")
    with pytest.raises(UserError, match=r"train-0\.tar is no usable webdataset tar"):
        open_source(data(root))


def test_unreadable_image_is_named_by_tar_and_key(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [("x.png", b"no image"), ("x.cls", b"0")])
    source = open_source(data(tmp_path, classes=1))
    with pytest.raises(UserError, match=r"a\.tar/x cannot be read as an image"):
        source.image(0)


@pytest.mark.parametrize(
    ("classes", "reason"), [(2, "has images of class 2"), (4, "has no image of class 3. Class numbers begin with 0")]
)
def test_other_number_of_classes(root: Path, classes: int, reason: str) -> None:
    with pytest.raises(UserError, match=rf"data\.classes: {classes}, but .*{reason}"):
        open_source(data(root, classes))


def test_folder_without_tars_is_refused_before_any_job(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no \.tar files"):
        check_source(data(tmp_path))
    with pytest.raises(UserError, match="cannot be listed"):
        check_source(data(tmp_path / "nowhere"))


def test_fingerprint_is_of_names_and_sizes(root: Path, tmp_path: Path) -> None:
    before = fingerprint(data(root))
    open_source(data(root))  # leaves its index there
    (root / "train-0.tar").touch()
    assert fingerprint(data(root)) == before
    assert cached_fingerprint(data(root), tmp_path / "cache.json") == before
    with (root / "train-0.tar").open("ab") as stream:
        stream.write(bytes(512))
    grown = fingerprint(data(root))
    (root / "train-0.tar").rename(root / "train-2.tar")
    assert len({before, grown, fingerprint(data(root))}) == 3


@pytest.mark.parametrize("name", ["n0/Grünspecht", "犬/写真", "caf\udce9/1"], ids=["latin", "kanji", "no UTF-8"])
def test_names_in_any_script_are_read_and_kept(tmp_path: Path, name: str) -> None:
    root = tmp_path / "tars"
    root.mkdir()
    members = [
        member
        for index in range(3)
        for member in [(f"{name}{index}.png", encoded(index)), (f"{name}{index}.cls", str(index).encode())]
    ]
    write_tar(root / "a.tar", members)
    for _ in range(2):  # scanned, then from the index that is kept
        source = open_source(data(root))
        assert source.keys == [f"a.tar/{name}{index}" for index in range(3)]
        assert source.labels.tolist() == [0, 1, 2]
    assert (root / module.INDEX_FILE).exists()


@pytest.mark.parametrize("label", [b"1" * 10, b"9" * 20, b"1" * 30])
def test_a_class_of_many_digits_is_no_class(tmp_path: Path, label: bytes) -> None:
    root = tmp_path / "tars"
    root.mkdir()
    write_tar(root / "a.tar", [("a.png", encoded(0)), ("a.cls", label)])
    with pytest.raises(UserError, match=r"a\.tar is no usable webdataset tar: member a\.cls is no number of a class"):
        open_source(data(root))


@pytest.mark.parametrize("size", ["9" * 15, "9" * 40, "-1", "1e3", "many"])
def test_an_absurd_size_in_a_header_is_a_message(tmp_path: Path, size: str) -> None:
    root = tmp_path / "tars"
    root.mkdir()
    with tarfile.open(root / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in [("a.png", encoded(0)), ("a.cls", b"0")]:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.pax_headers = {"size": size} if name == "a.png" else {}
            archive.addfile(member, io.BytesIO(content))
    with pytest.raises(UserError, match=r"a\.tar"):
        open_source(data(root))
