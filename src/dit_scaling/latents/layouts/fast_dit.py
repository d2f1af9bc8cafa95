"""fast-DiT's folders of npy files.

As extract_features.py of github.com/chuanyangjin/fast-DiT writes them: NAME_features/N.npy of shape (1, C, h, w) and
NAME_labels/N.npy of shape (1,), N from 0 on in the order of torchvision's ImageFolder. A latent is one draw of the
posterior of an image that was mirrored by chance, multiplied by 0.18215.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from dit_scaling.common.errors import UserError
from dit_scaling.common.words import count
from dit_scaling.latents.layouts.foreign_latents import (
    Foreign,
    ForeignSample,
    Layout,
    by_folder,
    one_view,
    read_in_order,
    read_npy,
    whole_label,
)

NUMBERED = re.compile(r"(0|[1-9]\d*)\.npy")
SD_SCALE = 0.18215


def _found(root: Path) -> bool:
    return bool(_pairs(root))


def _open(root: Path) -> Foreign:
    pairs = _pairs(root)
    if len(pairs) > 1:
        names = ", ".join(features.name for features, _ in pairs)
        raise UserError(f"{root} holds {names}. Move all but one of them, with its labels, to another folder.")
    features, labels = pairs[0]
    found = {folder: _numbers(folder) for folder in (features, labels)}
    total = len(found[features] | found[labels])
    for folder, numbers in found.items():
        lacking = next((number for number in range(total) if number not in numbers), None)
        if lacking is not None:
            counts = f"{count(len(found[features]), 'latent')} and {count(len(found[labels]), 'label')}"
            raise UserError(f"{folder}/{lacking}.npy is missing; there are {counts}. Get the folders again, whole.")
    return Foreign(
        count=total,
        samples=_samples(features, labels, total),
        each="one draw of the posterior of the image or of its mirror, made when it was extracted",
        holds="latent",
        multiplied_by=SD_SCALE,
    )


def _samples(features: Path, labels: Path, count: int) -> Iterator[ForeignSample]:
    return read_in_order(partial(_sample, features, labels), range(count))


def _sample(features: Path, labels: Path, number: int) -> ForeignSample:
    where, of_label = (f"{folder.name}/{number}.npy" for folder in (features, labels))
    values = one_view(read_npy(features / f"{number}.npy", where), where)
    label = whole_label(read_npy(labels / f"{number}.npy", of_label), of_label)
    return ForeignSample(where, values, label, where)


def _pairs(root: Path) -> list[tuple[Path, Path]]:
    """Folders of latents and of their labels."""
    pairs = [
        (path, path.with_name(f"{path.name.removesuffix('_features')}_labels")) for path in root.glob("*_features")
    ]
    return sorted(pair for pair in pairs if all(folder.is_dir() for folder in pair))


def _numbers(folder: Path) -> set[int]:
    return {int(match[1]) for path in folder.iterdir() if (match := NUMBERED.fullmatch(path.name))}


FAST_DIT = Layout("fast-dit", "NAME_features/0.npy and NAME_labels/0.npy", _found, _open, by_folder)
