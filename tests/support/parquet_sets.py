"""Folders of Parquet files as the library `datasets` writes them for the hub, small."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def encoded(seed: int, kind: str = "PNG") -> bytes:
    """An image of 12 x 10 random pixels."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 10, 3), dtype=np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def table(
    images: Sequence[bytes | None],
    labels: Sequence[Any],
    names: Sequence[str] | None = None,
    columns: tuple[str, str] = ("image", "label"),
    label_type: pa.DataType | None = None,
) -> pa.Table:
    """Images in structs of bytes and path beside their labels, with the names of the classes in the schema."""
    structs = [None if image is None else {"bytes": image, "path": f"{row}.png"} for row, image in enumerate(images)]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    made = pa.table(dict(zip(columns, (pa.array(structs, kind), pa.array(labels, label_type)), strict=True)))
    feature = {"names": list(names), "_type": "ClassLabel"} if names else {"dtype": "int64", "_type": "Value"}
    info = {"info": {"features": {columns[0]: {"_type": "Image"}, columns[1]: feature}}}
    return made.replace_schema_metadata({"huggingface": json.dumps(info)})


def write(path: Path, content: pa.Table, rows: int = 3, **options: Any) -> Path:
    """A file with so many rows in a row group."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(content, path, row_group_size=rows, **options)
    return path


def write_set(
    root: Path, images: int = 10, files: int = 2, split: str = "train", classes: int = 3, **more: Any
) -> Path:
    """``images`` images of classes 0, 1, ... in turn, in numbered files; seed and number of an image are one."""
    for number, some in enumerate(np.array_split(np.arange(images), files)):
        content = table([encoded(seed) for seed in some.tolist()], (some % classes).tolist(), **more)
        write(root / f"{split}-{number:05d}-of-{files:05d}.parquet", content)
    return root
