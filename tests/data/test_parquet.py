"""Parquet files as a source: against pandas' reading of them, row group by row group, and what is refused."""

import io
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dit_scaling.common.errors import UserError
from dit_scaling.config.image_settings import Parquet
from dit_scaling.data import row_groups as module
from dit_scaling.data.crop import centre_crop
from dit_scaling.data.fingerprint import fingerprint
from dit_scaling.data.parquet_split import choose_split
from dit_scaling.data.reading_order import reading_order, sample_evenly, together
from dit_scaling.data.sources import ParquetSource, check_source, open_source, read_images
from dit_scaling.data.split import split_indices
from dit_scaling.data.survey import describe_inventory, require_readable, survey
from parquet_sets import encoded, table, write, write_set

UUID = "3c1e2d4a-0f65-4c1e-9d2c-5b4f1f0a1b2c"


def data(path: Path, classes: int = 3, **more: Any) -> Parquet:
    return Parquet(source="parquet", path=str(path), image_size=8, classes=classes, held_out=2, **more)


def source_of(path: Path, classes: int = 3, **more: Any) -> ParquetSource:
    source = open_source(data(path, classes, **more))
    assert isinstance(source, ParquetSource)
    return source


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_set(tmp_path / "set")


class Reads:
    """Row groups that are read for their images, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.groups: list[int] = []
        real = module.RowGroupReader._read

        def read(reader: module.RowGroupReader, group: int) -> pa.ChunkedArray:
            self.groups.append(group)
            return real(reader, group)

        monkeypatch.setattr(module.RowGroupReader, "_read", read)


# What is read


def test_images_are_those_that_pandas_reads_in_its_order(root: Path) -> None:
    source = source_of(root)
    theirs = pd.concat([pd.read_parquet(path).reset_index() for path in sorted(root.glob("*.parquet"))])
    assert len(source) == len(theirs) == 10
    for index, row in enumerate(theirs.itertuples()):
        assert source.keys[index] == f"train-0000{index // 5}-of-00002.parquet/{row.index}"
        assert source.labels[index] == row.label
        with Image.open(io.BytesIO(row.image["bytes"])) as image:
            np.testing.assert_array_equal(source.image(index), centre_crop(image, 8))
    assert source.labels.dtype == np.int64
    assert list(source.keys[3:6]) == [source.keys[index] for index in (3, 4, 5)]
    assert list(source.keys) == [source.keys[index] for index in range(10)]
    assert source.keys[-1] == source.keys[9]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()], ids=str)
@pytest.mark.parametrize("options", [{"compression": "zstd"}, {"use_dictionary": False, "data_page_version": "2.0"}])
def test_plain_bytes_are_images_too_however_they_are_written(
    tmp_path: Path, kind: pa.DataType, options: dict[str, Any]
) -> None:
    images = [encoded(seed, "JPEG") for seed in range(4)]
    made = pa.table({"id": ["x"] * 4, "jpg": pa.array(images, kind), "cls": pa.array([0, 1, 0, 1], pa.uint16())})
    write(tmp_path / "all.parquet", made, **options)
    source = source_of(tmp_path, 2, image_column="jpg", label_column="cls")
    assert [source.encoded(index) for index in range(4)] == images
    assert source.class_names == ["0", "1"]


def test_names_of_classes_are_those_of_the_schema_unless_a_file_gives_them(tmp_path: Path) -> None:
    root = write_set(tmp_path / "set", names=["ant", "bee", "cat"])
    assert source_of(root).class_names == ["ant", "bee", "cat"]
    (tmp_path / "names.txt").write_text("fourmi\nabeille\nchat\n")
    assert source_of(root, class_names=str(tmp_path / "names.txt")).class_names == ["fourmi", "abeille", "chat"]
    with pytest.raises(UserError, match=r"data\.classes: 4, but .* name 3 classes \(ant, bee, cat\)"):
        source_of(root, 4)


def test_classes_of_one_name_need_others(tmp_path: Path) -> None:
    root = write_set(tmp_path / "set", names=["crane", "bee", "crane"])
    with pytest.raises(UserError, match=r"two classes 'crane'.* set data\.class_names"):
        source_of(root)


def test_only_one_split_is_read(root: Path) -> None:
    write_set(root / "data", 4, 1, "validation")
    (root / "README.md").write_text("x")
    (root / ".cache").mkdir()
    (root / ".cache" / "other-00000-of-00001.parquet").write_text("hidden")
    with pytest.raises(
        UserError, match=r"holds 2 splits: data/validation \(1 file\), train \(2 files\).* like split: data/validation"
    ):
        source_of(root)
    assert len(source_of(root, split="train")) == 10
    assert len(source_of(root, split="validation")) == len(source_of(root, split="data/validation")) == 4
    with pytest.raises(UserError, match=r"no split 'test' \(data\.split\), only data/validation \(1 file\), train"):
        check_source(data(root, split="test"))
    assert describe_inventory(data(root, split="train")) == [
        "10 rows of 2 .parquet files used, the first train-00000-of-00002.parquet",
        "left out: 1 .md (no .parquet), 1 .parquet (of split data/validation)",
    ]


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train/0000.parquet", "train/0001.parquet", "test/0000.parquet"], ["test", "train"]),
        (["0.parquet", "1.parquet"], ["all"]),
        (["train-00000-of-00001-b1a9c3d2e4f50617.parquet", "train.parquet"], ["train"]),
        (["part_1.parquet", "part_2.parquet", "a/part_1.parquet"], ["a/part", "part"]),
        ([f"part-0000{n}-{UUID}-c000.snappy.parquet" for n in (0, 1)], ["part"]),
        ([f"part-0000{n}-tid-12345-{UUID}-17-1-c000.zstd.parquet" for n in (0, 1)], ["part"]),
        ([f"part-r-0000{n}-{UUID}.c000.gz.parquet" for n in (0, 1)], ["part-r"]),
    ],
)
def test_a_split_is_a_name_before_numbers_or_a_folder(names: list[str], splits: list[str]) -> None:
    from dit_scaling.data.parquet_split import split_of

    assert sorted({split_of(name) for name in names}) == splits


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["cifar10", "cifar100"], ["cifar10", "cifar100"]),
        (["images-128", "images-64"], ["images-128", "images-64"]),
        (["train", "train2017"], ["train", "train2017"]),
        (["train-0", "train-2"], ["train-0", "train-2"]),
        (["a10", "a10-0", "a10-1", "a20"], ["a10", "a10.parquet", "a20"]),
        ([f"part-00000-{UUID}-c000.snappy", f"part-00000-{UUID[:-1]}d-c000.snappy"], None),
    ],
)
def test_files_that_differ_by_a_number_alone_are_not_one_set(names: list[str], splits: list[str] | None) -> None:
    files = [f"{name}.parquet" for name in names]
    with pytest.raises(UserError, match=rf"holds {len(splits or names)} splits: .* without a gap\.") as refused:
        choose_split(files, None, "here")
    for name in splits or names:
        assert f"{name} (" in str(refused.value)
        assert len(choose_split(files, name, "here")) == (2 if name == "a10" else 1)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("pattern", ["train-{}", "{:04d}", "sub/{}", f"part-{{:05d}}-{UUID}-c000.snappy"])
def test_numbers_without_a_gap_are_one_set(first: int, pattern: str) -> None:
    files = sorted(f"{pattern.format(number)}.parquet" for number in range(first, first + 12))
    assert choose_split(files, None, "here") == files
    assert choose_split(files, files[3].removesuffix(".parquet"), "here") == files[3:4]
    with pytest.raises(UserError, match=r"without a gap"):
        choose_split(files[:5] + files[6:], None, "here")


def test_what_is_left_out_is_of_its_own_split(tmp_path: Path) -> None:
    for name in ("cifar10", "cifar100"):
        write(tmp_path / f"{name}.parquet", table([encoded(0)] * 3, [0, 1, 2]))
    assert "1 .parquet (of split cifar100)" in describe_inventory(data(tmp_path, split="cifar10"))[1]


# How it is read


def test_a_shard_reads_each_of_its_row_groups_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = source_of(write_set(tmp_path / "set", images=60, files=2))
    monkeypatch.setattr("dit_scaling.data.reading_order.AT_RANDOM", 8)
    monkeypatch.setattr(module, "KEPT_BYTES", 1)
    train, _ = split_indices(60, 12, 0)
    order = reading_order(source, train)
    assert order[:8].tolist() == train[:8].tolist()
    assert sorted(order.tolist()) == sorted(train.tolist())
    reads = Reads(monkeypatch)
    for shard in np.array_split(order[8:], 4):
        reads.groups.clear()
        read_images(source, shard)
        assert len(reads.groups) == len(set(reads.groups))
        assert len(reads.groups) <= len(shard) / 3 * 2, "a shard needs few row groups"
    assert source.group[together(source, np.arange(60)[::-1])].tolist() == sorted(source.group.tolist(), reverse=True)


def test_sources_without_row_groups_keep_their_order() -> None:
    from dit_scaling.config.image_settings import Mnist

    digits = open_source(Mnist(source="mnist", held_out=10))
    shuffled = np.random.default_rng(0).permutation(5000)
    assert reading_order(digits, shuffled).tolist() == shuffled.tolist()
    assert sample_evenly(digits, 3).tolist() == [0, 2499, 4999]


def test_threads_share_one_reading_and_what_is_kept_is_bounded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, reads = source_of(root), Reads(monkeypatch)
    with ThreadPoolExecutor(8) as threads:
        images = list(threads.map(source.encoded, [*range(10)] * 20))
    assert images == [encoded(seed) for seed in range(10)] * 20
    assert sorted(reads.groups) == [0, 1, 2, 3]
    monkeypatch.setattr(module, "KEPT_BYTES", 1)
    source = source_of(root)
    reads.groups.clear()
    for index in (0, 1, 2, 9, 8, 0):
        source.encoded(index)
    assert reads.groups == [0, 3, 0]


def test_a_look_at_many_images_reads_few_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, reads = source_of(write_set(tmp_path / "set", images=60)), Reads(monkeypatch)
    seen = survey(source, data(tmp_path / "set"), limit=12)
    assert (seen.looked_at, sorted(set(reads.groups))) == (12, [0, 6, 12, 19])
    assert survey(source, data(tmp_path / "set")).looked_at == 60


def test_a_look_at_images_needs_row_groups_that_have_rows(tmp_path: Path) -> None:
    content = table([PNG] * 30, [0, 1, 2] * 10)
    with pq.ParquetWriter(tmp_path / "a.parquet", content.schema) as writer:
        writer.write_table(content.slice(0, 0))
        writer.write_table(content)
    assert survey(source_of(tmp_path), data(tmp_path), limit=2).looked_at == 2


def test_index_is_kept_and_made_again_when_a_file_changes(root: Path) -> None:
    before = list(source_of(root).keys)
    made = (root / module.INDEX_FILE).stat().st_ino
    kept = source_of(root)
    assert list(kept.keys) == before
    np.testing.assert_array_equal(kept.image(7), source_of(root).image(7))
    assert (root / module.INDEX_FILE).stat().st_ino == made
    then = time.time() - 3600
    os.utime(root / "train-00000-of-00002.parquet", (then, then))
    assert list(source_of(root).keys) == before
    assert (root / module.INDEX_FILE).stat().st_ino != made


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"\x93NUMPY"])
def test_broken_index_is_made_again(root: Path, content: bytes) -> None:
    before = list(source_of(root).keys)
    (root / module.INDEX_FILE).write_bytes(content)
    assert list(source_of(root).keys) == before


def test_folder_that_cannot_be_written_to_is_no_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module, "atomic_path", refused)
    assert len(source_of(root)) == 10
    assert not (root / module.INDEX_FILE).exists()


# What is refused


PNG = encoded(0)
BAD: dict[str, tuple[pa.Table, str]] = {
    "no image column": (
        table([PNG], [0], columns=("img", "label")),
        r"no column 'image' \(data\.image_column\); all its",
    ),
    "no label column": (
        table([PNG], [0], columns=("image", "y")),
        r"no column 'label' \(data\.label_column\); .*image, y",
    ),
    "arrays": (pa.table({"image": [[1, 2]], "label": [0]}), r"column 'image' is of type list<.*encoded as PNG, JPEG"),
    "paths": (
        pa.table({"image": [{"path": "a.png"}], "label": [0]}),
        r"column 'image' is of type struct<path: string>",
    ),
    "text": (pa.table({"image": [{"bytes": "a.png"}], "label": [0]}), r"column 'image\.bytes' is of type string"),
    "named classes": (table([PNG], ["cat"]), r"column 'label' is of type string, and labels are whole numbers"),
    "fractions": (table([PNG], [0.0]), r"column 'label' is of type double"),
    "twice": (
        pa.Table.from_arrays([pa.array([PNG]), pa.array([0]), pa.array([1])], ["image", "label", "label"]),
        r"two columns 'label'",
    ),
    "no image": (table([PNG] * 4 + [None], [0, 1, 2, 0, 1]), r"row 4 has no image \(null\)"),
    "no label": (table([PNG] * 5, [0, 1, 2, None, 1]), r"row 3 has no label \(null\)"),
    "unknown label": (table([PNG] * 5, [0, 1, 2, -1, 1]), r"row 3 has the label -1.* choose another data\.split"),
    "huge label": (
        table([PNG], [2**63], label_type=pa.uint64()),
        r"column 'label' has a label that is no number of a class",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_of_a_wrong_content_is_refused_by_name(tmp_path: Path, case: str) -> None:
    content, words = BAD[case]
    write(tmp_path / "train-00000-of-00001.parquet", content)
    with pytest.raises(UserError, match=rf"train-00000-of-00001\.parquet cannot be read as a Parquet file.*({words})"):
        source_of(tmp_path)
    assert not (tmp_path / module.INDEX_FILE).exists()


@pytest.mark.parametrize("statistics", [True, False])
def test_a_null_image_is_named_also_where_the_file_does_not_count_them(tmp_path: Path, statistics: bool) -> None:
    write(tmp_path / "a.parquet", table([PNG, PNG, None], [0, 1, 2]), write_statistics=statistics)
    with pytest.raises(UserError, match=r"a\.parquet.*row 2 has no image \(null\)"):
        source_of(tmp_path).image(2)


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (2, r"images of class 2, such as train-00000-of-00002\.parquet/2\. Correct data\.classes or the column label"),
        (4, r"no image of class 3\. Class numbers begin with 0; correct data\.classes or the column label"),
    ],
)
def test_other_number_of_classes(root: Path, classes: int, words: str) -> None:
    with pytest.raises(UserError, match=rf"data\.classes: {classes}, but .*{words}"):
        source_of(root, classes)


def test_an_image_that_cannot_be_decoded_is_named_by_file_and_row(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", table([PNG, PNG[:-30], b"", PNG], [0, 1, 2, 0]))
    source = source_of(tmp_path)
    for row, words in ((1, "truncated|cut"), (2, "the file is empty")):
        with pytest.raises(UserError, match=rf"a\.parquet/{row} cannot be read as an image \(.*({words})"):
            source.image(row)
    with pytest.raises(UserError, match=r"2 of 4 images looked at cannot be read: a\.parquet/1"):
        require_readable(survey(source, data(tmp_path)))


def damaged(root: Path, begin: int) -> None:
    path = root / "train-00000-of-00002.parquet"
    content = bytearray(path.read_bytes())
    content[begin : begin + 40] = b"\xff" * 40
    path.write_bytes(content)


def page_of_images(root: Path) -> int:
    return int(pq.ParquetFile(root / "train-00000-of-00002.parquet").metadata.row_group(0).column(0).data_page_offset)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "fetch or copy it again"),
        (lambda path: path.write_bytes(path.read_bytes()[:200]), "fetch or copy it again"),
        (lambda path: path.write_bytes(b""), "fetch or copy it again"),
        (lambda path: path.write_bytes(b"PAR1 no more PAR1"), "fetch or copy it again"),
        (lambda path: path.write_bytes(b"<!DOCTYPE html><html>sign in</html>"), "a web page"),
        (lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid"), "Git LFS"),
    ],
)
def test_damaged_file_is_named(root: Path, damage: Callable[[Path], object], words: str) -> None:
    damage(root / "train-00000-of-00002.parquet")
    with pytest.raises(UserError, match=rf"train-00000-of-00002\.parquet cannot be read as a Parquet file: .*{words}"):
        source_of(root)


def test_damage_among_the_images_is_named_when_it_is_read(tmp_path: Path) -> None:
    root = write_set(tmp_path / "set")
    damaged(root, page_of_images(root))
    source = source_of(root)
    for _ in range(2):  # a reading that failed is not kept
        with pytest.raises(UserError, match=r"train-00000-of-00002\.parquet cannot be read as a Parquet file"):
            source.image(0)
    assert source.image(9).shape == (8, 8, 3)


def test_files_that_are_missing_or_twice_are_told(root: Path) -> None:
    (root / "train-00000-of-00002.parquet").rename(root / "train-00000-of-00002-0123456789abcdef.parquet")
    assert len(source_of(root)) == 10
    write_set(root, 4, 1)
    with pytest.raises(UserError, match=r"there are 1 file and 2 files\. Keep one set"):
        source_of(root)
    (root / "train-00000-of-00001.parquet").unlink()
    (root / "train-00000-of-00002-0123456789abcdef.parquet").unlink()
    with pytest.raises(UserError, match=r"1 file such as train-00001-of-00002.*there are 2; number 0 is missing"):
        check_source(data(root))
    (root / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(UserError, match=r"holds no \.parquet files"):
        check_source(data(root))
    with pytest.raises(UserError, match="cannot be listed"):
        check_source(data(root / "nowhere"))


def test_files_of_two_data_sets_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "train-00000-of-00002.parquet", table([PNG] * 2, [0, 1], ["ant", "bee"]))
    write(tmp_path / "train-00001-of-00002.parquet", table([PNG] * 2, [0, 1], ["bee", "ant"]))
    with pytest.raises(
        UserError, match=r"train-00000-of-00002\.parquet and .*train-00001.* classes of label other names"
    ):
        source_of(tmp_path, 2)


def test_a_file_without_rows_adds_nothing_and_such_files_alone_are_refused(tmp_path: Path) -> None:
    empty = table([], [], label_type=pa.int64())
    write(tmp_path / "train-00000-of-00002.parquet", empty)
    with pytest.raises(UserError, match=r"such as train-00000-of-00002\.parquet, have no rows"):
        write(tmp_path / "train-00001-of-00002.parquet", empty)
        source_of(tmp_path)
    write(tmp_path / "train-00001-of-00002.parquet", table([PNG] * 3, [0, 1, 2]))
    assert source_of(tmp_path).keys[0] == "train-00001-of-00002.parquet/0"


def test_a_file_replaced_after_the_start_is_no_other_image(root: Path) -> None:
    source = source_of(root)
    write(
        root / "train-00000-of-00002.parquet", table([encoded(50 + seed) for seed in range(5)], [0, 1, 2, 0, 1]), rows=5
    )
    with pytest.raises(UserError, match=r"train-00000-of-00002\.parquet .*it has changed since this job began"):
        source.image(0)


def test_a_file_added_after_the_start_is_no_part_of_what_is_open(tmp_path: Path) -> None:
    root = write_set(tmp_path / "set", 6, 1)
    (root / "train-00000-of-00001.parquet").rename(root / "train-0.parquet")
    source, before = source_of(root), fingerprint(data(root))
    write(root / "train-1.parquet", table([PNG], [0]))
    assert (len(source), source.image(5).shape) == (6, (8, 8, 3))
    assert len(source_of(root)) == 7
    assert fingerprint(data(root)) != before


def test_the_same_image_in_two_classes_is_told(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", table([PNG, encoded(1), PNG], [0, 1, 2]))
    doubts = " ".join(survey(source_of(tmp_path), data(tmp_path)).doubts)
    assert "2 of 3 images lie in more than one class, as a.parquet/0 and a.parquet/2 do" in doubts


def test_row_groups_too_large_to_be_kept_are_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dit_scaling.data.survey.KEPT_BYTES", 100)
    assert "write the files anew with row groups of 100 images" in describe_inventory(data(root))[0]


def test_fingerprint_is_of_names_and_sizes(root: Path) -> None:
    before = fingerprint(data(root))
    source_of(root)  # leaves its index there
    (root / "train-00000-of-00002.parquet").touch()
    write_set(root, 4, 1, "test")
    assert fingerprint(data(root, split="train")) == before
    assert fingerprint(data(root, split="test")) != before
