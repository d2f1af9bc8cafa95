"""Shards and their reader: against plain webdataset, and against broken, altered and hostile files."""

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import webdataset

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import sha256_file
from dit_scaling.latents import shard_index
from dit_scaling.latents.manifest import Manifest, Shard, Split, content_digest
from dit_scaling.latents.reader import LatentReader
from dit_scaling.latents.shards import LatentSample, to_float16, write_shard

SHAPE = (2, 4, 3, 5)
COUNTS = (4, 3)


def make_samples(first: int, count: int) -> Iterator[LatentSample]:
    for index in range(first, first + count):
        moments = np.random.default_rng(index).normal(size=SHAPE).astype(np.float16)
        # Out of order as after a shuffle; a source's name can hold anything but a null byte.
        yield LatentSample((index * 7) % 31, moments, index % 3, f"käse/{index}.tar.png")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("latents")
    first = 0
    for number, count in enumerate(COUNTS):
        write_shard(folder / f"train/{number}.tar", make_samples(first, count))
        first += count
    write_manifest_of(folder)
    return folder


def write_manifest_of(folder: Path) -> None:
    """A manifest of whatever the shards' bytes are now."""
    shards = tuple(
        Shard(file=f"train/{number}.tar", sha256=sha256_file(folder / f"train/{number}.tar"), count=count)
        for number, count in enumerate(COUNTS)
    )
    histogram = tuple(np.bincount(np.arange(sum(COUNTS)) % 3).tolist())
    split = Split(
        shards=shards, count=sum(COUNTS), label_histogram=histogram, channel_mean=(0.0, 0.0), channel_std=(1.0, 1.0)
    )
    manifest = Manifest(
        splits={"train": split},
        latent_shape=SHAPE,
        dtype="float16",
        scale=1.0,
        vae_sha256="0" * 64,
        settings_digest="",
        content=content_digest({"train": split}, 1.0),
    )
    (folder / "manifest.json").write_text(json.dumps(manifest.model_dump(mode="json")))


@pytest.fixture
def latents(built: Path, tmp_path: Path) -> Path:
    """A copy without index files, free to be broken."""
    return Path(shutil.copytree(built, tmp_path / "latents", ignore=shutil.ignore_patterns("*.npz")))


def read(folder: Path, **options: bool) -> LatentReader:
    return LatentReader(folder / "manifest.json", "train", **options)


def test_plain_webdataset_reads_what_was_written(built: Path) -> None:
    urls = [str(built / f"train/{number}.tar") for number in range(2)]
    found = list(webdataset.WebDataset(urls, shardshuffle=False).decode())
    for sample, expected in zip(found, make_samples(0, sum(COUNTS)), strict=True):
        assert sample["__key__"] == f"{expected.index:08d}"
        assert sample["json"] == {"label": expected.label, "source": expected.source}
        np.testing.assert_array_equal(sample["latent.npy"], expected.moments)
        assert sample["latent.npy"].dtype == np.float16


def test_equal_samples_give_equal_bytes(built: Path, tmp_path: Path) -> None:
    write_shard(tmp_path / "again.tar", make_samples(0, COUNTS[0]))
    assert (tmp_path / "again.tar").read_bytes() == (built / "train/0.tar").read_bytes()


def test_an_error_midway_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> Iterator[LatentSample]:
        yield from make_samples(0, 2)
        raise UserError("the third image is broken")

    with pytest.raises(UserError, match="third"):
        write_shard(tmp_path / "shard.tar", failing())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "reason"), [(np.nan, "NaN or infinity"), (-np.inf, "NaN or infinity"), (1e5, "too large for float16")]
)
def test_numbers_that_float16_cannot_hold_name_the_image(value: float, reason: str) -> None:
    moments = np.zeros(SHAPE, dtype=np.float32)
    moments[1, 2, 1, 3] = value
    with pytest.raises(UserError, match=rf"cat/1\.png: .*{reason}"):
        to_float16(moments, "cat/1.png")


def test_float16_rounding_is_to_nearest() -> None:
    np.testing.assert_array_equal(to_float16(np.array([1.0, 65519.0, 1e-9], np.float32), ""), [1.0, 65504.0, 0.0])


def test_reader_gives_what_webdataset_gives(latents: Path) -> None:
    urls = [str(latents / f"train/{number}.tar") for number in range(2)]
    expected = list(webdataset.WebDataset(urls, shardshuffle=False).decode())
    for _ in range(2):  # The second time from the kept index.
        reader = read(latents)
        assert len(reader) == len(expected) == 7
        assert reader.shape == SHAPE
        assert reader.labels.tolist() == [sample["json"]["label"] for sample in expected]
        assert reader.sources == [sample["json"]["source"] for sample in expected]
        order = np.array([5, 0, 6, 3, 3, -1])
        moments = reader.moments(order)
        assert moments.dtype == np.float16
        np.testing.assert_array_equal(moments, np.stack([expected[index]["latent.npy"] for index in order]))


def test_reader_of_no_images_and_of_one_too_many(latents: Path) -> None:
    reader = read(latents)
    assert reader.moments(np.array([], dtype=np.int64)).shape == (0, *SHAPE)
    with pytest.raises(IndexError):
        reader.moments(np.array([7]))


def test_shards_of_other_tools_are_read_too(latents: Path) -> None:
    """webdataset's own encoding of the same samples, written the way its documentation does."""
    with webdataset.TarWriter(str(latents / "train/0.tar")) as writer:
        for sample in make_samples(0, COUNTS[0]):
            facts = {"label": sample.label, "source": sample.source}
            writer.write({"__key__": f"k{sample.index}", "latent.npy": sample.moments, "json": facts})
    write_manifest_of(latents)
    expected = np.stack([sample.moments for sample in make_samples(0, 7)])
    np.testing.assert_array_equal(read(latents).moments(np.arange(7)), expected)


def forbid_scanning(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("scanned again")

    monkeypatch.setattr(shard_index, "scan_shard", forbidden)
    monkeypatch.setattr(shard_index, "sha256_file", forbidden)


def test_index_is_made_once(latents: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read(latents)
    forbid_scanning(monkeypatch)
    after = read(latents)
    np.testing.assert_array_equal(after.moments(np.arange(7)), before.moments(np.arange(7)))
    assert after.sources == before.sources


def test_index_of_a_touched_shard_is_made_again(latents: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read(latents)
    os.utime(latents / "train/1.tar", (1, 1))
    forbid_scanning(monkeypatch)
    with pytest.raises(AssertionError, match="scanned again"):
        read(latents)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"\x80\x04\x95 a pickle"])
def test_broken_index_is_made_again(latents: Path, content: bytes) -> None:
    expected = read(latents).moments(np.arange(7))
    (latents / "train/0.tar.idx.npz").write_bytes(content)
    np.testing.assert_array_equal(read(latents).moments(np.arange(7)), expected)
    assert (latents / "train/0.tar.idx.npz").read_bytes() != content


def test_index_with_pickled_content_is_not_loaded(latents: Path) -> None:
    read(latents)
    index = latents / "train/0.tar.idx.npz"
    arrays = dict(np.load(index))
    arrays["sources"] = np.array(["a", None, 3, {}], dtype=object)
    np.savez(index, allow_pickle=True, **arrays)
    assert read(latents).sources[0] == "käse/0.tar.png"


def test_works_where_no_index_can_be_kept(latents: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(path: Path) -> None:
        raise PermissionError(f"{path}: read-only")

    monkeypatch.setattr(shard_index, "atomic_path", read_only)
    assert len(read(latents)) == 7
    assert not list(latents.rglob("*.npz"))


def flip_a_latent_bit(path: Path, *, keep_time: bool = False) -> None:
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[1800] ^= 1
    path.write_bytes(content)
    if keep_time:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5000])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [flip_a_latent_bit, truncate, empty])
@pytest.mark.parametrize("opened_before", [True, False])
def test_damaged_shard_is_named(latents: Path, damage: Callable[[Path], None], opened_before: bool) -> None:
    if opened_before:
        read(latents)
    damage(latents / "train/1.tar")
    with pytest.raises(UserError, match=r"train/1\.tar is no usable shard: its sha256 .* truncated or altered"):
        read(latents)


def test_missing_shard_is_named(latents: Path) -> None:
    read(latents)
    (latents / "train/0.tar").unlink()
    with pytest.raises(UserError, match=r"train/0\.tar is missing"):
        read(latents)


def test_verify_sees_what_size_and_time_hide(latents: Path) -> None:
    read(latents)
    flip_a_latent_bit(latents / "train/0.tar", keep_time=True)
    assert len(read(latents)) == 7
    with pytest.raises(UserError, match=r"train/0\.tar .* altered"):
        read(latents, verify=True)


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


GOOD = npy(np.zeros(SHAPE, np.float16))
FACTS = b'{"label": 0, "source": "x"}'


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("../0.json", FACTS), ("../0.latent.npy", GOOD)], r"member '\.\./0\.json'"),
        ([("a/0.json", FACTS), ("a/0.latent.npy", GOOD)], "member 'a/0.json'"),
        ([("/0.json", FACTS), ("/0.latent.npy", GOOD)], "member '/0.json'"),
        ([("0.json", FACTS)], r"0\.json is not followed by 0\.latent\.npy"),
        ([("0.json", FACTS), ("1.latent.npy", GOOD)], r"0\.json is not followed by 0\.latent\.npy"),
        ([("0.latent.npy", GOOD), ("0.json", FACTS)], r"member '0\.latent\.npy' where a file KEY\.json"),
        ([("0.json", FACTS), ("0.latent.npy", npy(np.zeros(SHAPE, np.float32)))], r"is float32 \(2, 4, 3, 5\)"),
        ([("0.json", FACTS), ("0.latent.npy", npy(np.zeros((2, 4), np.float16)))], r"is float16 \(2, 4\), not"),
        ([("0.json", FACTS), ("0.latent.npy", npy(np.array([None, {}], dtype=object)))], "is object"),
        ([("0.json", FACTS), ("0.latent.npy", npy(np.asfortranarray(np.zeros(SHAPE, np.float16))))], "member 0.lat"),
        ([("0.json", FACTS), ("0.latent.npy", GOOD[:-2])], "member 0.latent.npy is"),
        ([("0.json", FACTS), ("0.latent.npy", b"")], "no npy file"),
        ([("0.json", FACTS), ("0.latent.npy", b"\x80\x04 a pickle, not an array")], "no npy file"),
        ([("0.json", b"{"), ("0.latent.npy", GOOD)], "no label and source"),
        ([("0.json", b"[1]"), ("0.latent.npy", GOOD)], "no label and source"),
        ([("0.json", b'{"label": -1, "source": "x"}'), ("0.latent.npy", GOOD)], "impossible label"),
        ([("0.json", b'{"label": "cat", "source": "x"}'), ("0.latent.npy", GOOD)], "impossible label"),
        ([], r"holds 0 images, but .*manifest\.json says 4"),
        ([("0.json", FACTS), ("0.latent.npy", GOOD)], "holds 1 image, but"),
        ([(f"{n}.{end}", body) for n in range(4) for end, body in (("json", FACTS), ("latent.npy", GOOD))], "labels"),
    ],
)
def test_shard_of_a_wrong_content_is_refused(latents: Path, members: list[tuple[str, bytes]], reason: str) -> None:
    with tarfile.open(latents / "train/0.tar", "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    write_manifest_of(latents)
    with pytest.raises(UserError, match=reason):
        read(latents)


def test_links_in_a_shard_are_refused(latents: Path) -> None:
    with tarfile.open(latents / "train/0.tar", "w") as archive:
        info = tarfile.TarInfo("0.json")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    write_manifest_of(latents)
    with pytest.raises(UserError, match=r"member '0\.json' where a file"):
        read(latents)


def test_file_that_is_no_tar_is_refused_even_with_the_right_digest(latents: Path) -> None:
    (latents / "train/0.tar").write_bytes(b"not a tar" * 1000)
    write_manifest_of(latents)
    with pytest.raises(UserError, match=r"train/0\.tar is no usable shard: not a complete tar file"):
        read(latents)


def test_tar_cut_short_is_refused_even_with_the_right_digest(latents: Path) -> None:
    path = latents / "train/0.tar"
    path.write_bytes(path.read_bytes()[: 512 * 2 + 512 + 100])
    write_manifest_of(latents)
    with pytest.raises(UserError, match=r"train/0\.tar is no usable shard"):
        read(latents)


def test_other_split(latents: Path) -> None:
    with pytest.raises(UserError, match="has no split held_out, only train"):
        LatentReader(latents / "manifest.json", "held_out")


def edit(folder: Path, change: Callable[[dict], object]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: m.pop("scale"), "scale: Field required"),
        (lambda m: m.update(scale=0), "scale: Input should be greater than 0"),
        (lambda m: m.update(scale=2.0), "contradicts itself"),
        (lambda m: m.update(extra=1), "extra: Extra inputs"),
        (lambda m: m.update(dtype="float32"), "dtype: "),
        (lambda m: m.update(latent_shape=[1, 4, 3, 5]), "latent_shape"),
        (lambda m: m["splits"]["train"]["shards"].reverse(), "contradicts itself"),
        (lambda m: m["splits"]["train"]["shards"].clear(), "shards: Tuple should have at least 1"),
        (lambda m: m["splits"]["train"]["shards"][0].update(file="/etc/x.tar"), "leads out of"),
        (lambda m: m["splits"]["train"]["shards"][0].update(file="../x.tar"), "leads out of"),
        (lambda m: m["splits"]["train"]["shards"][0].update(sha256="abc"), "sha256: String should match"),
        (lambda m: m["splits"]["train"].update(count=8), "counts of split train do not add up"),
        (lambda m: m["splits"]["train"].update(label_histogram=[7, 1]), "counts of split train do not add up"),
        (lambda m: m["splits"]["train"].update(label_histogram=[7]), "labels of split train are not those"),
        (lambda m: m["splits"].update(test={}), "splits"),
    ],
)
def test_manifest_that_is_wrong_says_where(latents: Path, change: Callable[[dict], object], reason: str) -> None:
    edit(latents, change)
    with pytest.raises(UserError, match=rf"manifest\.json.*{reason}"):
        read(latents)


@pytest.mark.parametrize("content", ["", "[]", "nonsense", "{}"])
def test_file_that_is_no_manifest(latents: Path, content: str) -> None:
    (latents / "manifest.json").write_text(content)
    with pytest.raises(UserError, match=r"manifest\.json is n"):
        read(latents)


def test_missing_manifest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"manifest\.json does not exist"):
        read(tmp_path)


def test_content_digest_follows_the_bytes(built: Path) -> None:
    manifest = json.loads((built / "manifest.json").read_text())
    shas = [hashlib.sha256((built / f"train/{number}.tar").read_bytes()).hexdigest() for number in range(2)]
    text = json.dumps({"scale": 1.0, "shards": {"train": shas}}, sort_keys=True, separators=(",", ":"))
    assert manifest["content"] == hashlib.sha256(text.encode()).hexdigest()[:16]
