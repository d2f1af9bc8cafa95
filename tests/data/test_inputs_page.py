"""docs/inputs.md, row by row: what the page says of a kind of file happens to one of that kind."""

import argparse
import gzip
import io
import json
import os
import pickle
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import parquet_sets
from dit_scaling.common.errors import UserError
from dit_scaling.config.image_settings import ImageFolder, Parquet, WebDataset
from dit_scaling.data.class_order import describe_order
from dit_scaling.data.listing import take_inventory
from dit_scaling.data.pixels import ORIENTATION
from dit_scaling.data.sources import open_source
from dit_scaling.data.survey import describe_inventory, require_readable, survey
from dit_scaling.latents.autoencoder import load_any_vae
from dit_scaling.metrics.moments import load_moments
from dit_scaling.models import DiT, create_model
from dit_scaling.models.checkpoints import has_null_class, load_model
from dit_scaling.models.export import export_pipeline, load_pipeline
from dit_scaling.variants import SIZES, Size, Variant
from oracles import randomize
from pipeline import ROOT

# The rows of tables of metrics are tested beside their reader, in tests/claims/test_metrics_table.py.
PAGE = (ROOT / "docs/inputs.md").read_text(encoding="utf-8").partition("\n## Tables of metrics")[0]
ROWS = [
    row for row in re.findall(r"^\| (.+?) \|", PAGE, re.MULTILINE) if row not in ("file", "member", "npz", "folder")
]
ROWS.remove("what lies there")
TINY = Variant(size="Tiny", patch=2, depth=1, hidden_size=16, num_heads=2)
CASES: dict[str, Callable[[Path, Path], None]] = {}
RAMP = np.tile(np.linspace(0, 65535, 16), (16, 1))
GREY = np.round(RAMP / 257).astype(np.uint8)


def row(name: str) -> Callable[[Callable[[Path, Path], None]], Callable[[Path, Path], None]]:
    def register(case: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
        CASES[name] = case
        return case

    return register


def test_the_page_has_these_rows_and_no_others() -> None:
    assert sorted(ROWS) == sorted(CASES)


@pytest.mark.parametrize("name", ROWS)
def test_row(name: str, tmp_path: Path, toy_vae: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "Tiny", Size(depth=1, hidden_size=16, num_heads=2))
    CASES[name](tmp_path, toy_vae.parent / "autoencoder")


def refused(words: str, read: Callable[[], object]) -> None:
    with pytest.raises(UserError, match=words):
        read()


# Images


def folder(root: Path, **settings: Any) -> ImageFolder:
    given = {"image_size": 16, "classes": 1, "held_out": 2, "channels": 1} | settings
    return ImageFolder(source="image_folder", path=str(root), **given)


def save(root: Path, image: Image.Image, name: str = "a.png", **options: Any) -> Path:
    (root / "one").mkdir(parents=True, exist_ok=True)
    image.save(root / "one" / name, **options)
    return root


def read(root: Path, **settings: Any) -> NDArray[np.uint8]:
    return open_source(folder(root, **settings)).image(0)


@row("PNG, JPEG, WebP, GIF, BMP, TIFF, TGA, JPEG 2000, AVIF, PNM, PCX, SGI, QOI")
def _formats(root: Path, _: Path) -> None:
    suffixes = ".png .jpg .jpe .jfif .webp .gif .bmp .tif .tga .jp2 .avif .pgm .pcx .sgi".split()  # noqa: SIM905
    for suffix in suffixes:
        save(root, Image.fromarray(GREY), f"a{suffix}", **({"quality": 95} if suffix == ".avif" else {}))
    save(root, Image.fromarray(GREY).convert("RGB"), "b.qoi")
    save(root, Image.fromarray(GREY), "c.jpg", format="PNG")
    source = open_source(folder(root))
    assert len(source) == len(suffixes) + 2
    for index in range(len(source)):
        np.testing.assert_allclose(source.image(index)[..., 0], GREY, atol=12, err_msg=source.keys[index])


@row("grey of 16 bits: PNG, PGM, TIFF, JPEG 2000")
def _deep(root: Path, _: Path) -> None:
    for suffix in ("png", "pgm", "tif", "jp2"):
        deep = Image.fromarray(RAMP.astype(np.uint16))
        save(root / suffix, deep, f"a.{suffix}", **({"irreversible": False} if suffix == "jp2" else {}))
        np.testing.assert_allclose(read(root / suffix)[..., 0], GREY, atol=1)


@row("TIFF of 12 bits, TIFF whose white is zero")
def _tags(root: Path, _: Path) -> None:
    save(root, Image.fromarray(RAMP.astype(np.uint16)), "a.tif", tiffinfo={262: 0})
    np.testing.assert_allclose(read(root)[..., 0], 255 - GREY, atol=1)


@row("whole numbers of 32 bits, floating point")
def _no_white(root: Path, _: Path) -> None:
    for name, kind in (("int", np.int32), ("float", np.float32)):
        save(root / name, Image.fromarray(RAMP.astype(kind)), "a.tif")
        refused(r"one/a\.tif cannot be read as an image \(.* white", lambda path=root / name: read(path))  # type: ignore[misc]


@row("CMYK, YCbCr, HSV, palettes, one bit")
def _modes(root: Path, _: Path) -> None:
    for mode, suffix in (("CMYK", "jpg"), ("YCbCr", "jpg"), ("P", "png")):
        grey = Image.fromarray(GREY)
        save(root / mode, grey.convert("P") if mode == "P" else grey.convert("RGB").convert(mode), f"a.{suffix}")
        np.testing.assert_allclose(read(root / mode)[..., 0], GREY, atol=12)
    save(root / "1", Image.fromarray(GREY).convert("1"))
    assert set(read(root / "1").ravel().tolist()) == {0, 255}


@row("LAB")
def _lab(root: Path, _: Path) -> None:
    save(root, Image.new("LAB", (16, 16)), "a.tif")
    refused("pixels of mode LAB have no conversion", lambda: read(root))


@row("transparent pixels")
def _transparent(root: Path, _: Path) -> None:
    save(root, Image.new("RGBA", (16, 16), (0, 255, 0, 0)))
    assert (read(root, channels=3) == 255).all()
    assert (read(root, channels=3, background="black") == 0).all()
    assert (read(root, channels=3, background=None) == [0, 255, 0]).all()


@row("EXIF orientation")
def _exif(root: Path, _: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    save(root, Image.fromarray(GREY), exif=exif)
    np.testing.assert_array_equal(read(root)[..., 0], np.rot90(GREY, -1))
    np.testing.assert_array_equal(read(root, exif_transpose=False)[..., 0], GREY)


@row("animations, several pages")
def _frames(root: Path, _: Path) -> None:
    frames = [Image.new("L", (16, 16), value) for value in (0, 200)]
    save(root, frames[0], "a.gif", save_all=True, append_images=frames[1:])
    assert (read(root) == 0).all()
    assert survey(open_source(folder(root)), folder(root)).traits["animated"].count == 1


@row("damaged or cut short, no image at all (a pointer of Git LFS, a web page), of more than 50 million pixels")
def _damaged(root: Path, _: Path) -> None:
    save(root, Image.fromarray(GREY))
    path = root / "one/a.png"
    for content, words in (
        (path.read_bytes()[:-30], "truncated"),
        (jpeg()[:-30], "truncated"),
        (b"version https://git-lfs", "Git LFS"),
        (b"<html>", "web page"),
        (huge(), "more than the 50,0"),
    ):
        path.write_bytes(content)
        refused(words, lambda: read(root))
        refused(words, lambda: require_readable(survey(open_source(folder(root)), folder(root))))


def jpeg() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(GREY).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def huge() -> bytes:
    """A PNG's header of 8,000 x 8,000 pixels."""
    stream = io.BytesIO()
    Image.new("1", (8000, 8000)).save(stream, "PNG")
    return stream.getvalue()


# Folders


def images(root: Path) -> list[str]:
    return list(open_source(folder(root, classes=len(list(root.glob("[a-z0-9]*"))))).keys)


@row("hidden files and folders")
def _hidden(root: Path, _: Path) -> None:
    save(root, Image.fromarray(GREY))
    (root / "one/.hidden.png").write_text("x")
    (root / ".thumbnails").mkdir()
    assert images(root) == ["one/a.png"]


@row("folders of storage and operating systems: @eaDir, #recycle, __MACOSX, lost+found, ...")
def _systems(root: Path, _: Path) -> None:
    save(root, Image.fromarray(GREY))
    for name in ("@eaDir", "#recycle", "__MACOSX"):
        save(root / "one" / name, Image.fromarray(GREY))
    assert images(root) == ["one/a.png"]
    assert len(take_inventory(root).left_out) == 3


@row("HEIC, raw photos, SVG, arrays, archives, other files")
def _others(root: Path, _: Path) -> None:
    save(root, Image.fromarray(GREY))
    for suffix in ("heic", "nef", "svg", "npy", "zip", "txt"):
        (root / f"one/x.{suffix}").write_text("x")
    assert images(root) == ["one/a.png"]
    assert sum(take_inventory(root).left_out.values()) == 6


@row("links")
def _links(root: Path, _: Path) -> None:
    save(root, Image.fromarray(GREY))
    (root / "one/b.png").symlink_to("a.png")
    assert images(root) == ["one/a.png", "one/b.png"]
    assert take_inventory(root).links == 1


@row("links that lead nowhere, of an image or of a folder")
def _dead(root: Path, _: Path) -> None:
    save(root, Image.fromarray(GREY))
    (root / "one/b.png").symlink_to("/nowhere.png")
    refused(r"one/b\.png -> /nowhere\.png", lambda: images(root))
    (root / "one/b.png").rename(root / "one/more")
    refused(r"one/more -> /nowhere\.png", lambda: images(root))


@row("links that lead in a circle")
def _circle(root: Path, _: Path) -> None:
    save(root, Image.fromarray(GREY))
    (root / "one/up").symlink_to("..")
    refused(r"one/up -> \.\. leads back", lambda: images(root))


@row("pipes, sockets, devices")
def _pipes(root: Path, _: Path) -> None:
    save(root, Image.fromarray(GREY))
    os.mkfifo(root / "one/b.png")
    assert images(root) == ["one/a.png"]


@row("names that are not UTF-8")
def _names(root: Path, _: Path) -> None:
    save(root, Image.fromarray(GREY))
    (root / os.fsdecode(b"caf\xe9")).mkdir()
    refused("is not UTF-8", lambda: images(root))


@row("class folders named by numbers")
def _numbers(root: Path, _: Path) -> None:
    for number in range(11):
        save(root / "x", Image.fromarray(GREY))
        (root / "x/one").rename(root / str(number))
    (root / "x").rmdir()
    assert "label 2 is the class '10'" in str(describe_order(open_source(folder(root, classes=11)).class_names))


@row("a file of names, `data.class_names`")
def _class_names(root: Path, _: Path) -> None:
    for name in ("rose", "tulip"):
        save(root / "x", Image.fromarray(GREY))
        (root / "x/one").rename(root / name)
    (root / "x").rmdir()
    (root / "names.txt").write_text("tulip\nrose\n")
    data = folder(root, classes=2, class_names=str(root / "names.txt"))
    assert open_source(data).class_names == ["tulip", "rose"]
    (root / "names.txt").write_bytes("\ufefftulip\r\ntulip\r\n".encode())
    refused("holds 'tulip' twice", lambda: open_source(data))


@row("the same files in two classes; folders called train and val")
def _twins(root: Path, _: Path) -> None:
    for name in ("train", "val"):
        save(root / "x", Image.fromarray(GREY))
        (root / "x/one").rename(root / name)
    (root / "x").rmdir()
    doubts = " ".join(survey(open_source(folder(root, classes=2)), folder(root, classes=2)).doubts)
    assert "lie in more than one class" in doubts
    assert "are called train, val" in doubts


# Tars


def tar(root: Path, *members: tuple[str, bytes]) -> Callable[[], list[int]]:
    root.mkdir(parents=True, exist_ok=True)
    with tarfile.open(root / "a.tar", "w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    data = WebDataset(source="webdataset", path=str(root), image_size=16, classes=1, held_out=2)
    return lambda: open_source(data).labels.tolist()


def png() -> tuple[str, bytes]:
    buffer = io.BytesIO()
    Image.fromarray(GREY).save(buffer, "PNG")
    return "x.png", buffer.getvalue()


@row("KEY.cls")
def _cls(root: Path, _: Path) -> None:
    assert tar(root, png(), ("x.cls", b"0"), ("x.json", b'{"label": 7}'))() == [0]


@row("KEY.cls.txt, KEY.txt, KEY.json with `label`, `cls`, `class` or `class_id`")
def _labels(root: Path, _: Path) -> None:
    for number, key in enumerate(("label", "cls", "class", "class_id")):
        assert tar(root / str(number), png(), ("x.json", json.dumps({key: 0}).encode()))() == [0]
    assert tar(root / "text", png(), ("x.cls.txt", b"0"), ("x.txt", b"0"))() == [0]


@row("two members of one name, two labels that differ, a JSON key twice")
def _twice(root: Path, _: Path) -> None:
    refused("is there twice", tar(root / "a", png(), ("x.cls", b"0"), ("x.cls", b"1")))
    refused("more than one class", tar(root / "b", png(), ("x.txt", b"0"), ("x.json", b'{"label": 1}')))
    refused("the key 'label' stands there twice", tar(root / "c", png(), ("x.json", b'{"label": 0, "label": 0}')))


@row("members of no image")
def _members(root: Path, _: Path) -> None:
    assert tar(root, ("README.md", b"x"), png(), ("x.cls", b"0"))() == [0]


@row("images that are links, or whose names hold a dot before the suffix (IMG.01.png)")
def _lost(root: Path, _: Path) -> None:
    name, content = png()
    dotted = tar(root / "dots", (name, content), ("x.cls", b"0"), ("IMG.01.png", content), ("IMG.01.cls", b"0"))
    refused(r"member 'IMG\.01\.png' is left over: a key ends at the first dot", dotted)
    labels = tar(root / "links", (name, content), ("x.cls", b"0"))
    with tarfile.open(root / "links/a.tar", "a") as archive:
        link = tarfile.TarInfo("y.png")
        link.type, link.linkname = tarfile.LNKTYPE, name
        archive.addfile(link)
    refused(r"member 'y\.png' is a link to 'x\.png'", labels)


@row("no samples at all")
def _no_samples(root: Path, _: Path) -> None:
    refused(r"hold no samples: 1 \.npy\. Wanted is one image each", tar(root, ("x.npy", b"x")))


@row("compressed tars")
def _compressed(root: Path, _: Path) -> None:
    labels = tar(root, png(), ("x.cls", b"0"))
    (root / "a.tar").write_bytes(gzip.compress((root / "a.tar").read_bytes()))
    refused("no usable webdataset tar", labels)


# Parquet


def parquet(root: Path, **settings: Any) -> Parquet:
    given = {"image_size": 8, "classes": 3, "held_out": 2} | settings
    return Parquet(source="parquet", path=str(root), **given)


def labels_of(root: Path, **settings: Any) -> list[int]:
    return open_source(parquet(root, **settings)).labels.tolist()


def one_file(root: Path, content: pa.Table) -> Path:
    return parquet_sets.write(root / "a.parquet", content).parent


@row("images as bytes, or as a struct with `bytes`; whole numbers of classes")
def _columns(root: Path, _: Path) -> None:
    images = [parquet_sets.encoded(seed) for seed in range(3)]
    one_file(root / "bytes", pa.table({"image": images, "label": [2, 0, 1]}))
    parquet_sets.write(root / "struct/a.parquet", parquet_sets.table(images, [2, 0, 1]), compression="gzip")
    for folder in ("bytes", "struct"):
        assert labels_of(root / folder) == [2, 0, 1]
        assert open_source(parquet(root / folder)).image(2).shape == (8, 8, 3)


@row("names of the classes in the schema, as `datasets` writes them")
def _schema(root: Path, _: Path) -> None:
    parquet_sets.write_set(root / "set", names=["ant", "bee", "cat"])
    assert open_source(parquet(root / "set")).class_names == ["ant", "bee", "cat"]
    (root / "names.txt").write_text("a\nb\nc\n")
    assert open_source(parquet(root / "set", class_names=str(root / "names.txt"))).class_names == ["a", "b", "c"]


@row("several splits in the folder or below it")
def _splits(root: Path, _: Path) -> None:
    parquet_sets.write_set(root, 3)
    parquet_sets.write_set(root / "more", 6, split="test")
    refused(r"2 splits: more/test \(2 files\), train \(2 files\)", lambda: labels_of(root))
    assert len(labels_of(root, split="test")) == 6
    assert "2 .parquet (of split train)" in describe_inventory(parquet(root, split="test"))[1]


@row("files that are missing by their names' own count (train-00000-of-00294), or there twice")
def _count(root: Path, _: Path) -> None:
    parquet_sets.write_set(root, files=3)
    (root / "train-00001-of-00003.parquet").unlink()
    refused("there are 3; number 1 is missing", lambda: labels_of(root))


@row("numbered files without such a count (part-0, part-1; also Spark's names)")
def _numbered(root: Path, _: Path) -> None:
    for number in range(2):
        for name in (
            f"plain/part-{number}",
            f"spark/part-0000{number}-3c1e2d4a-0f65-4c1e-9d2c-5b4f1f0a1b2c-c000.snappy",
        ):
            images = [parquet_sets.encoded(seed) for seed in range(3)]
            parquet_sets.write(root / f"{name}.parquet", parquet_sets.table(images, [0, 1, 2]))
    assert labels_of(root / "plain") == labels_of(root / "spark") == [0, 1, 2, 0, 1, 2]


@row("other files whose names differ by a number (cifar10 and cifar100, train and train2017, train-0 and train-2)")
def _gaps(root: Path, _: Path) -> None:
    for folder, names in (("a", ("cifar10", "cifar100")), ("b", ("train", "train2017")), ("c", ("train-0", "train-2"))):
        for name in names:
            images = [parquet_sets.encoded(seed) for seed in range(3)]
            parquet_sets.write(root / folder / f"{name}.parquet", parquet_sets.table(images, [0, 1, 2]))
        refused("holds 2 splits", lambda folder=folder: labels_of(root / folder))  # type: ignore[misc]
        assert labels_of(root / folder, split=names[1]) == [0, 1, 2]


@row("files whose names for the classes differ")
def _names_differ(root: Path, _: Path) -> None:
    for number, names in enumerate((["ant", "bee", "cat"], ["bee", "ant", "cat"])):
        content = parquet_sets.table([parquet_sets.encoded(0)], [number], names)
        parquet_sets.write(root / f"train-{number}.parquet", content)
    refused(r"train-0\.parquet and .*train-1\.parquet give the classes", lambda: labels_of(root))


@row("a column that is missing or of another type: text, fractions, arrays, paths without bytes")
def _types(root: Path, _: Path) -> None:
    for number, (content, words) in enumerate(
        (
            ({"img": [b"x"], "label": [0]}, "no column 'image'.*img, label"),
            ({"image": ["x"], "label": [0]}, "is of type string"),
            ({"image": [b"x"], "label": [0.5]}, "is of type double"),
            ({"image": [[[0, 255]]], "label": [0]}, "is of type list"),
            ({"image": [{"path": "a.png"}], "label": [0]}, "is of type struct<path: string>"),
        )
    ):
        one_file(root / str(number), pa.table(content))
        refused(rf"a\.parquet .*{words}", lambda folder=root / str(number): labels_of(folder))  # type: ignore[misc]


@row("a row without image or label, a label below 0")
def _null(root: Path, _: Path) -> None:
    image = parquet_sets.encoded(0)
    for number, (images, labels, words) in enumerate(
        (
            ([image, None], [0, 1], "row 1 has no image"),
            ([image, image], [0, None], "row 1 has no label"),
            ([image, image], [0, -1], "row 1 has the label -1"),
        )
    ):
        one_file(root / str(number), parquet_sets.table(images, labels))
        refused(rf"a\.parquet .*{words}", lambda folder=root / str(number): labels_of(folder))  # type: ignore[misc]


@row("an image that cannot be decoded")
def _undecodable(root: Path, _: Path) -> None:
    one_file(root, parquet_sets.table([parquet_sets.encoded(seed)[: 900 * (seed < 2)] for seed in range(3)], [0, 1, 2]))
    refused(r"a\.parquet/2 cannot be read as an image", lambda: open_source(parquet(root)).image(2))


@row("damaged, cut short, replaced while jobs run, a pointer of Git LFS, a web page")
def _damaged_parquet(root: Path, _: Path) -> None:
    path = parquet_sets.write_set(root, files=1) / "train-00000-of-00001.parquet"
    source, whole = open_source(parquet(root)), path.read_bytes()
    for content, words in (
        (whole[:-9], "fetch or copy it again"),
        (b"version https://git-lfs", "Git LFS"),
        (b"<html>", "web page"),
    ):
        path.write_bytes(content)
        refused(rf"train-00000-of-00001\.parquet cannot be read .*{words}", lambda: labels_of(root))
    parquet_sets.write_set(root, images=12, files=1)
    refused("has changed since this job began", lambda: source.image(9))


@row("files of `data.hub` that were not fetched, or not whole")
def _not_fetched(root: Path, _: Path) -> None:
    parquet_sets.write_set(root)
    refused("Run `dit-scaling prefetch CONFIG`", lambda: labels_of(root, hub="someone/flowers"))


# Checkpoints


def model(num_classes: int = 3) -> DiT:
    made = create_model(TINY, input_size=8, num_classes=num_classes, in_channels=2)
    assert isinstance(made, DiT)
    return randomize(made)


def same(loaded: Any, made: DiT) -> bool:
    return all(torch.equal(loaded.state_dict()[key], value) for key, value in made.state_dict().items())


@row("ours, and the released ones (.pt, .safetensors)")
def _released(root: Path, _: Path) -> None:
    made = model()
    torch.save(made.state_dict(), root / "a.pt")
    assert same(load_model(root / "a.pt"), made)
    torch.save(made.half().state_dict(), root / "half.pt")
    assert same(load_model(root / "half.pt"), made.float())


@row("a checkpoint of DiT's train.py, or of the like")
def _train_py(root: Path, _: Path) -> None:
    ema, raw = model(), model()
    args = argparse.Namespace(model="DiT-S/8", num_classes=3)
    torch.save({"model": raw.state_dict(), "ema": ema.state_dict(), "opt": {}, "args": args}, root / "a.pt")
    assert same(load_model(root / "a.pt"), ema)
    assert same(load_model(root / "a.pt", "model"), raw)


@row("prefixes of wrappers: module., _orig_mod., ...")
def _prefixes(root: Path, _: Path) -> None:
    made = model()
    torch.save({f"module._orig_mod.{key}": value for key, value in made.state_dict().items()}, root / "a.pt")
    assert same(load_model(root / "a.pt"), made)


@row("averaged weights in another form than a state dict")
def _shadow(root: Path, _: Path) -> None:
    made = model()
    torch.save({"model": made.state_dict(), "ema": {"shadow": list(made.state_dict().values())}}, root / "a.pt")
    refused("--weights model", lambda: load_model(root / "a.pt"))
    assert same(load_model(root / "a.pt", "model"), made)


@row("a pointer of Git LFS, a web page")
def _foreign(root: Path, _: Path) -> None:
    for text, words in (("version https://git-lfs.github.com/spec/v1", "Git LFS"), ("<html>404", "a web page")):
        (root / "a.pt").write_text(text)
        refused(words, lambda: load_model(root / "a.pt"))


@row("an exported pipeline's folder, its transformer, its file")
def _exported(root: Path, vae: Path) -> None:
    made = model()
    torch.save(made.state_dict(), root / "a.pt")
    export_pipeline(root / "a.pt", root / "pipeline", str(vae), ["x", "y", "z"])
    assert same(load_model(root / "pipeline"), made)
    assert load_pipeline(root / "pipeline").labels == {"x": 0, "y": 1, "z": 2}


@row("a label table of 1,000 rows")
def _table(root: Path, _: Path) -> None:
    torch.save(model(999).state_dict(), root / "a.pt")
    refused("--num-classes", lambda: load_model(root / "a.pt"))
    assert has_null_class(load_model(root / "a.pt", num_classes=999))
    assert not has_null_class(load_model(root / "a.pt", num_classes=1000))


@row("code in a pickle")
def _code(root: Path, _: Path) -> None:
    torch.save(model(), root / "a.pt")
    refused(r"without running code of it: it holds dit_scaling\.models\.dit\.DiT", lambda: load_model(root / "a.pt"))


@row("cut short")
def _cut(root: Path, _: Path) -> None:
    torch.save(model().state_dict(), root / "a.pt")
    (root / "a.pt").write_bytes((root / "a.pt").read_bytes()[:5000])
    refused("cannot be read as a checkpoint", lambda: load_model(root / "a.pt"))


# Autoencoders


def altered(root: Path, vae: Path, **change: Any) -> Callable[[], object]:
    root.mkdir(parents=True, exist_ok=True)
    for path in vae.iterdir():
        (root / path.name).write_bytes(path.read_bytes())
    config = json.loads((root / "config.json").read_text())
    (root / "config.json").write_text(json.dumps(config | change))
    return lambda: load_any_vae(str(root))


@row("config.json and weights of an AutoencoderKL")
def _vae(root: Path, vae: Path) -> None:
    altered(root, vae)()


@row("a whole pipeline, or the vae stage of a study")
def _pipeline(root: Path, vae: Path) -> None:
    for inside in ("vae", "autoencoder"):
        altered(root / inside / inside, vae)
        refused(
            rf"the autoencoder is in .*/{inside}: name that", lambda folder=root / inside: load_any_vae(str(folder))
        )


@row("weights in half precision alone")
def _half(root: Path, vae: Path) -> None:
    load = altered(root, vae)
    (root / "diffusion_pytorch_model.safetensors").rename(root / "diffusion_pytorch_model.fp16.safetensors")
    refused("in half precision", load)


@row("weights that are a pointer of Git LFS or a web page")
def _vae_foreign(root: Path, vae: Path) -> None:
    load = altered(root, vae)
    for text, words in (("version https://git-lfs", "Git LFS"), ("<!DOCTYPE html>", "a web page")):
        (root / "diffusion_pytorch_model.safetensors").write_text(text)
        refused(f"holds no weights but .*{words}", load)


@row("shift_factor, latents_mean, latents_std, keys unknown here")
def _shifts(root: Path, vae: Path) -> None:
    for key in ("shift_factor", "latents_mean", "latents_std", "batch_norm_eps"):
        refused(key, altered(root / key, vae, **{key: 0.5}))


@row("a key twice in config.json")
def _vae_keys(root: Path, vae: Path) -> None:
    load = altered(root, vae)
    text = (root / "config.json").read_text().rstrip().removesuffix("}")
    (root / "config.json").write_text(text + ', "scaling_factor": 0.5, "scaling_factor": 0.6}')
    refused("stands there twice", load)


@row("a scaling_factor that is no positive number")
def _scales(root: Path, vae: Path) -> None:
    for number, scale in enumerate((None, "0.18215", -1, 0)):
        refused("scaling_factor", altered(root / str(number), vae, scaling_factor=scale))


# References: tests/metrics/test_reference.py compares what they say of themselves with a study


def moments(root: Path, **arrays: Any) -> Path:
    np.savez(root / "a.npz", **{"mu": np.zeros(3), "sigma": np.eye(3)} | arrays)
    return root / "a.npz"


@row("ADM's, clean-fid's (mu, sigma)")
def _adm(root: Path, _: Path) -> None:
    assert load_moments(moments(root)).covariance.shape == (3, 3)


@row("one that names features, resize or image size (or holds images)")
def _named(root: Path, _: Path) -> None:
    found = load_moments(moments(root, features="clean", resize="bicubic", image_size=256))
    assert (found.features, found.resize, found.image_size) == ("clean", "bicubic", 256)


@row("what it does not say of itself")
def _unknown(root: Path, _: Path) -> None:
    assert "unknown number of images of unknown size" in load_moments(moments(root)).describe()


@row("sigma not symmetric, with a negative variance, zero, complex or of whole numbers")
def _covariances(root: Path, _: Path) -> None:
    for sigma in (np.triu(np.ones((3, 3))), -np.eye(3), np.zeros((3, 3)), np.eye(3) + 0j, np.eye(3, dtype=int)):
        refused("sigma", lambda sigma=sigma: load_moments(moments(root, sigma=sigma)))  # type: ignore[misc]


@row("another number of images than the study trains on")
def _another_count(root: Path, _: Path) -> None:
    assert "500 images" in load_moments(moments(root, count=500)).describe()


@row("a pickle, a pointer of Git LFS, a web page in its place")
def _no_npz(root: Path, _: Path) -> None:
    for content, words in (
        (pickle.dumps([1.0]), "no npz of plain numbers"),
        (b"version https://git-lfs", "Git LFS"),
        (b"<html>", "a web page"),
    ):
        (root / "a.npz").write_bytes(content)
        refused(words, lambda: load_moments(root / "a.npz"))
