"""REPA's and EDM2's folders of npy files.

As dataset_tools.py and encoders.py in preprocessing/ of github.com/sihyun-yu/REPA write them:
vae-sd/00000/img-mean-std-00000000.npy of shape (2C, h, w), the posterior's mean and then its standard deviation (no
logarithm), not scaled, and dataset.json with {"labels": [[file, class], ...]}. Files are numbered in the order of the
sorted paths of their images.
"""

import os
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import read_json
from dit_scaling.common.words import count
from dit_scaling.latents.layouts.foreign_latents import (
    Foreign,
    ForeignSample,
    Layout,
    by_path,
    one_view,
    read_in_order,
    read_npy,
    whole_label,
)

LABELS = "dataset.json"
INSIDE = "vae-sd"


def _root(folder: Path) -> Path | None:
    """The folder itself, or that of the latents in it, as REPA's training names the one above."""
    return next((path for path in (folder, folder / INSIDE) if _holds_latents(path)), None)


def _holds_latents(path: Path) -> bool:
    return (path / LABELS).is_file() and any(_files(path))


def _files(root: Path) -> Iterator[str]:
    """Latents below a folder, relative to it; links are followed, but for those that lead to where they lie."""
    for where, folders, names in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not _leads_back(Path(where, name))]
        yield from (Path(where, name).relative_to(root).as_posix() for name in names if name.endswith(".npy"))


def _leads_back(folder: Path) -> bool:
    """Whether it is a link to a folder that holds it, as a second `ln -s` leaves it."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def _open(folder: Path) -> Foreign:
    root = _root(folder) or folder
    labels = _labels(root / LABELS)
    files = sorted(_files(root))
    for there, missing, told in ((labels, set(files), "is missing"), (files, labels, f"has no label in {LABELS}")):
        lacking = next((name for name in there if name not in missing), None)
        if lacking is not None:
            counts = f"{count(len(files), 'latent')} and {count(len(labels), 'label')}"
            raise UserError(f"{root / lacking} {told}; there are {counts}. Get the folder again, whole.")
    return Foreign(
        count=len(files),
        samples=_samples(root, files, labels),
        each="mean and standard deviation of the posterior",
        holds="mean-std",
        multiplied_by=1.0,
    )


def _labels(path: Path) -> dict[str, Any]:
    """Class of each file, as it stands there.

    Raises:
        UserError: there are none, or a file has two.
    """
    content = read_json(path)
    rows = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{path} holds no labels: expected is {{'labels': [[file, class], ...]}}.")
    for row in rows:
        if not (isinstance(row, list) and len(row) == 2 and isinstance(row[0], str)):
            raise UserError(f"{path}: {row!r} in its labels is no pair of file and class.")
    twice = [name for name, count in Counter(name for name, _ in rows).items() if count > 1]
    if twice:
        raise UserError(f"{path} has more than one label for {twice[0]}.")
    return dict(rows)


def _samples(root: Path, files: list[str], labels: dict[str, Any]) -> Iterator[ForeignSample]:
    return read_in_order(partial(_sample, root, labels), files)


def _sample(root: Path, labels: dict[str, Any], name: str) -> ForeignSample:
    values = one_view(read_npy(root / name, name), name)
    return ForeignSample(name, values, whole_label(labels[name], f"{LABELS}, {name}"), name)


REPA = Layout(
    "repa", f"{LABELS} beside 00000/img-mean-std-00000000.npy", lambda folder: _root(folder) is not None, _open, by_path
)
