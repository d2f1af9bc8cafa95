"""Parquet files as a source: found by their footers and labels alone, images then read by row group.

A row group is the least that Parquet reads of a column, on the hub about 100 images. The columns of each row are an
encoded image, as bytes or as a struct with `bytes`, and the number of its class.
"""

import contextlib
import json
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import atomic_path, digest
from dit_scaling.common.foreign import name_foreign_file
from dit_scaling.config.image_settings import Parquet
from dit_scaling.data.parquet_split import SplitFiles

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

INDEX_FILE = ".dit-scaling-parquet.npz"
KEPT_BYTES = 256 << 20
"""Row groups that a reader keeps, together; the newest it keeps whatever its size."""


@dataclass(frozen=True)
class ParquetIndex:
    """Where each image lies, in the order of files and rows."""

    files: list[str]
    file: NDArray[np.int64]
    """Which of ``files`` each row group lies in, (G,)."""
    number: NDArray[np.int64]
    """Number of each row group in its file, (G,)."""
    start: NDArray[np.int64]
    """Index of the first image of each row group, and the number of images, (G + 1,)."""
    group: NDArray[np.int64]
    """Row group of each image, (N,)."""
    label: NDArray[np.int64]
    """Class of each image, (N,)."""
    largest: int
    """Bytes of the images of the largest row group."""
    class_names: list[str] | None
    """Of the numbers of the classes, where the files tell them."""

    @classmethod
    def of_groups(
        cls,
        files: list[str],
        groups: NDArray[np.int64],
        label: NDArray[np.int64],
        largest: int,
        class_names: list[str] | None,
    ) -> Self:
        """From (3, G): of each row group its file, its number there, and its rows."""
        file, number, rows = groups
        start = np.concatenate([[0], np.cumsum(rows)])
        return cls(files, file, number, start, np.repeat(np.arange(len(rows)), rows), label, largest, class_names)

    def place(self, index: int) -> tuple[str, int]:
        """File and row of an image."""
        file = self.file[self.group[index]]
        first = self.start[np.searchsorted(self.file, file)]
        return self.files[file], int(index - first)


class RowNames(Sequence[str]):
    """FILE/ROW of each image, made when it is asked for."""

    def __init__(self, index: ParquetIndex) -> None:
        self._index = index

    def __len__(self) -> int:
        return len(self._index.label)

    def __iter__(self) -> Iterator[str]:
        rows = np.bincount(self._index.file, np.diff(self._index.start), len(self._index.files)).astype(np.int64)
        for file, count in zip(self._index.files, rows.tolist(), strict=True):
            yield from (f"{file}/{row}" for row in range(count))

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        file, row = self._index.place(int(index) % len(self))
        return f"{file}/{row}"


class ParquetError(ValueError):
    """What is wrong with a Parquet file, without its name."""


def open_parquet(data: Parquet, split: SplitFiles) -> ParquetIndex:
    """The index of the files of a split, from the file kept beside them while none of them changes, else made and kept.

    Making it reads footers and labels, no image. A folder that cannot be written to is no error: then every job makes
    its own.

    Raises:
        UserError: a file is unreadable, cut short or damaged, has not the columns of ``data`` or others than the first,
            an image or a label is null, or a label is no number of a class.
    """
    root = Path(data.path)
    names = [name for name, _ in split.files]
    times = [(root / name).stat().st_mtime_ns for name in names]
    stamp = digest([split.files, times, data.image_column, data.label_column])
    kept = _read_kept(root / INDEX_FILE, stamp, names)
    if kept is not None:
        return kept
    found = [_scan(root / name, data) for name in names]
    told = {json.dumps(one.class_names) for one in found}
    if len(told) > 1:
        other = next(name for name, one in zip(names, found, strict=True) if one.class_names != found[0].class_names)
        raise UserError(
            f"data.path: {root / names[0]} and {root / other} give the classes of {data.label_column} other names: "
            "they are not of one data set. Keep one set of files."
        )
    groups = [(file, number, rows) for file, one in enumerate(found) for number, rows in enumerate(one.rows)]
    if not any(rows for _, _, rows in groups):
        raise UserError(f"data.path: the Parquet files of {root}, such as {names[0]}, have no rows.")
    index = ParquetIndex.of_groups(
        names,
        np.array(groups, dtype=np.int64).T,
        np.concatenate([one.labels for one in found]),
        max(one.largest for one in found),
        found[0].class_names,
    )
    with contextlib.suppress(OSError), atomic_path(root / INDEX_FILE) as temporary:
        np.savez(
            temporary,
            stamp=np.array(stamp),
            groups=np.array(groups, dtype=np.int64).T,
            label=index.label,
            largest=np.array(index.largest),
            class_names=np.array(json.dumps(index.class_names)),
        )
    return index


class RowGroupReader:
    """Encoded images by index, for several threads: a row group is read once while it is kept, and by one of them."""

    def __init__(self, data: Parquet, index: ParquetIndex) -> None:
        self._root, self._column, self._index = Path(data.path), data.image_column, index
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, Future[pa.ChunkedArray]] = OrderedDict()

    def encoded(self, index: int) -> bytes:
        """One image as it is stored.

        Raises:
            UserError: it is null, or its file is damaged, unreadable or has changed.
        """
        group = int(self._index.group[index])
        value = self._group(group)[int(index - self._index.start[group])].as_py()
        if value is None:
            file, row = self._index.place(index)
            raise UserError(f"{self._root / file}: row {row} has no image (null). Take the row out of the file.")
        content: bytes = value
        return content

    def _group(self, group: int) -> "pa.ChunkedArray":
        with self._lock:
            future = self._kept.get(group)
            mine = future is None
            if future is None:
                future = self._kept[group] = Future()
            self._kept.move_to_end(group)
        if mine:
            try:
                future.set_result(self._read(group))
            except BaseException as error:
                with self._lock:
                    del self._kept[group]
                future.set_exception(error)
            else:
                self._forget()
        return future.result()

    def _forget(self) -> None:
        """Drop the row groups that were asked for longest ago, as many as are too much."""
        with self._lock:
            sizes = {group: future.result().nbytes for group, future in self._kept.items() if future.done()}
            total = sum(sizes.values())
            for group, size in list(sizes.items())[:-1]:
                if total > KEPT_BYTES:
                    del self._kept[group]
                    total -= size

    def _read(self, group: int) -> "pa.ChunkedArray":
        index = self._index
        path = self._root / index.files[index.file[group]]
        with _faults_named(path), _open(path) as file:
            number = int(index.number[group])
            rows = int(index.start[group + 1] - index.start[group])
            if number >= file.num_row_groups or file.metadata.row_group(number).num_rows != rows:
                raise ParquetError("it has changed since this job began")
            return _read_images(file, number, self._column)


@dataclass(frozen=True)
class _Scanned:
    """One file."""

    rows: list[int]
    """Of each row group."""
    labels: NDArray[np.int64]
    largest: int
    class_names: list[str] | None


def _scan(path: Path, data: Parquet) -> _Scanned:
    """Read the footer and the labels of one file."""
    with _faults_named(path), _open(path) as file:
        leaf = _leaf(file, data.image_column)
        labels = _labels(file, data.label_column)
        groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
        rows = [group.num_rows for group in groups]
        if sum(rows) != len(labels):
            raise ParquetError(f"it has {sum(rows)} rows, but {len(labels)} labels")
        _require_no_null_image(file, data.image_column)
        largest = max((group.column(leaf).total_uncompressed_size for group in groups), default=0)
        return _Scanned(rows, labels, largest, _class_names(file, data.label_column))


@contextmanager
def _open(path: Path) -> Iterator["pq.ParquetFile"]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        yield file


@contextmanager
def _faults_named(path: Path) -> Iterator[None]:
    """Tell what is wrong with a file; damaged ones make pyarrow raise several kinds of errors."""
    import pyarrow as pa

    try:
        yield
    except ParquetError as error:
        raise UserError(f"{path} cannot be read as a Parquet file of images: {error}.") from None
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        foreign = name_foreign_file(path)
        said = foreign or (isinstance(error, OSError) and error.strerror) or str(error).split("\n")[0].rstrip(".")
        advice = "" if foreign else " Where it was damaged or cut short, fetch or copy it again."
        raise UserError(f"{path} cannot be read as a Parquet file: {said}.{advice}") from None


def _leaf(file: "pq.ParquetFile", column: str) -> int:
    """Number of the column that holds the bytes of the images, among all that a file stores.

    Raises:
        ParquetError: there is none of that name, or it is of another type.
    """
    import pyarrow as pa

    kind = _field(file, column, "data.image_column").type
    path = column
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        path, kind = f"{column}.bytes", kind.field("bytes").type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise ParquetError(
            f"its column {path!r} is of type {kind}, and images are read from bytes or from a struct with 'bytes', "
            "encoded as PNG, JPEG, ...; data.image_column names another column"
        )
    return next(place for place in range(len(file.schema)) if file.schema.column(place).path == path)


def _field(file: "pq.ParquetFile", column: str, key: str) -> "pa.Field":
    fields = [field for field in file.schema_arrow if field.name == column]
    if len(fields) != 1:
        listed = ", ".join(file.schema_arrow.names) or "none"
        found = "has two columns" if fields else "has no column"
        raise ParquetError(f"it {found} {column!r} ({key}); all its columns are {listed}")
    return fields[0]


def _labels(file: "pq.ParquetFile", column: str) -> NDArray[np.int64]:
    """The class of each row.

    Raises:
        ParquetError: there is no such column, it holds something else than whole numbers, or null, or a number below 0.
    """
    import pyarrow as pa

    kind = _field(file, column, "data.label_column").type
    if not pa.types.is_integer(kind):
        raise ParquetError(
            f"its column {column!r} is of type {kind}, and labels are whole numbers, of the first class 0; "
            "data.label_column names another column"
        )
    values = file.read(columns=[column], use_threads=False).column(0)
    if values.null_count:
        raise ParquetError(f"row {_first(values.is_null())} has no label (null). Take the row out of the file")
    try:
        labels: NDArray[np.int64] = values.cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid as error:
        raise ParquetError(f"its column {column!r} has a label that is no number of a class ({error})") from None
    if len(labels) and labels.min() < 0:
        row = int(np.argmax(labels < 0))
        raise ParquetError(
            f"row {row} has the label {labels[row]}, and classes are numbered from 0 on. On the hub a label of -1 says "
            "that it is unknown, as in test splits: choose another data.split"
        )
    return labels


def _require_no_null_image(file: "pq.ParquetFile", column: str) -> None:
    """See that every row has an image, as far as the file counts them.

    Raises:
        ParquetError: one has none.
    """
    leaf, first = _leaf(file, column), 0
    for number in range(file.num_row_groups):
        group = file.metadata.row_group(number)
        counts = group.column(leaf).statistics
        if counts is not None and counts.has_null_count and counts.null_count:
            row = first + _first(_read_images(file, number, column).is_null())
            raise ParquetError(f"row {row} has no image (null). Take the row out of the file")
        first += group.num_rows


def _read_images(file: "pq.ParquetFile", number: int, column: str) -> "pa.ChunkedArray":
    """The encoded images of one row group."""
    table = file.read_row_group(number, columns=[file.schema.column(_leaf(file, column)).path], use_threads=False)
    # Of a struct only its bytes were read.
    return table.flatten().column(0) if table.column(0).type.num_fields else table.column(0)


def _first(mask: "pa.ChunkedArray") -> int:
    return int(np.argmax(mask.to_numpy()))


def _class_names(file: "pq.ParquetFile", column: str) -> list[str] | None:
    """Names of the classes as the library `datasets` writes them into a file's schema; None where it has none."""
    try:
        content: Any = json.loads((file.schema_arrow.metadata or {})[b"huggingface"])
        names = content["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return [str(name) for name in names] if isinstance(names, list) and names else None


def _read_kept(path: Path, stamp: str, names: list[str]) -> ParquetIndex | None:
    """A kept index, None where there is none or it does not fit."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if str(arrays["stamp"]) != stamp:
                return None
            return ParquetIndex.of_groups(
                names,
                arrays["groups"],
                arrays["label"],
                int(arrays["largest"]),
                json.loads(str(arrays["class_names"])),
            )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None
