"""Which class has which number: the order of the labels, and what to doubt about it."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import open_regular
from dit_scaling.common.spelling import same_letters
from dit_scaling.common.words import count
from dit_scaling.config.image_settings import ImageFolder, Parquet, WebDataset
from dit_scaling.config.study import Study
from dit_scaling.data.listing import class_folders

NUMBERED = re.compile(r"(\D*)(\d+)(\D*)")
SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})


def folder_classes(data: ImageFolder) -> list[str]:
    """Names of the class folders in the order of their labels: that of ``data.class_names``, or sorted as text.

    Raises:
        UserError: the folder is missing or unreadable, there are more or fewer class folders than ``data.classes``, or
            the file of names is not about them.
    """
    found = class_folders(Path(data.path))
    if len(found) != data.classes:
        raise UserError(
            f"data.classes: {data.classes}, but {data.path} holds {count(len(found), 'class folder')} "
            f"({_abbreviated(found)}). Correct data.classes or data.path."
        )
    if data.class_names is None:
        return found
    names = _as_folders(_read_as_many(data.class_names, data.classes), found)
    for there, missing, where in ((found, names, data.class_names), (names, found, data.path)):
        lacking = sorted(set(there) - set(missing))
        if lacking:
            raise UserError(
                f"data.class_names: {where} has no {_abbreviated(lacking)}. The file must hold the names of the class "
                f"folders in {data.path}, one a line, in the order of the labels."
            )
    return names


def _as_folders(names: Sequence[str], folders: Sequence[str]) -> list[str]:
    """Names as the folders spell them that look like them: a folder's may end with a space, which no line does."""
    spelled = {same_letters(folder): folder for folder in folders} | {folder: folder for folder in folders}
    return [spelled.get(name, spelled.get(same_letters(name), name)) for name in names]


def numbered_classes(data: WebDataset | Parquet, told: Sequence[str] | None = None) -> list[str]:
    """Names of classes that images know by number: of ``data.class_names``, as ``told`` by the files, or the numbers.

    Raises:
        UserError: the file of names is missing, or there are more or fewer names than ``data.classes``, or one twice.
    """
    if data.class_names is not None:
        return _read_as_many(data.class_names, data.classes)
    if told is None:
        return [str(label) for label in range(data.classes)]
    if len(told) != data.classes:
        raise UserError(
            f"data.classes: {data.classes}, but the files of {data.path} name {count(len(told), 'class')} "
            f"({_abbreviated(told)}). Correct data.classes."
        )
    twice = _twice(told)
    if twice:
        raise UserError(
            f"data.path: the files of {data.path} name two classes {twice[0]!r}. Give each a name of its own in a "
            "file, one a line in the order of the labels, and set data.class_names."
        )
    return list(told)


def _read_as_many(file: str, classes: int) -> list[str]:
    names = read_names(file, "data.class_names")
    if len(names) != classes:
        raise UserError(f"data.class_names: {file} holds {count(len(names), 'name')}, but data.classes is {classes}.")
    twice = _twice(names)
    if twice:
        raise UserError(f"data.class_names: {file} holds {twice[0]!r} twice; each class has one label.")
    return names


def _twice(names: Sequence[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def read_names(file: str, key: str) -> list[str]:
    """The names in a file, one a line.

    Raises:
        UserError: it is unreadable; names the ``key`` that asked for the file.
    """
    try:
        with open_regular(Path(file)) as stream:
            lines = [line.strip() for line in stream.read().decode("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{key}: {file} cannot be read as a text of names ({error}).") from None
    return [line for line in lines if line]


def describe_order(names: Sequence[str]) -> str | None:
    """Says where numbered classes are sorted as text, so that label and number differ; None where they are not."""
    parts = [NUMBERED.fullmatch(name) for name in names]
    if not all(parts) or len({(part[1], part[3]) for part in parts if part}) > 1:
        return None
    numbers = [int(part[2]) for part in parts if part]
    if numbers == sorted(numbers):
        return None
    label = next(label for label, number in enumerate(numbers) if number != sorted(numbers)[label])
    counted = names[numbers.index(sorted(numbers)[label])]
    return (
        f"class folders are sorted as text, so that label {label} is the class '{names[label]}', where by number it "
        f"would be '{counted}'. To number them otherwise, list them in the order of the labels in a file and set "
        "data.class_names"
    )


def describe_names(names: Sequence[str]) -> str | None:
    """Says where folders of a data set's parts are taken for its classes; None where they are not."""
    parts = [name for name in names if name.lower() in SPLITS]
    if len(parts) < 2 or len(parts) < len(names):
        return None
    return f"the class folders are called {_abbreviated(parts)}: are they parts of one data set, each with its classes?"


def require_order(study: Study) -> None:
    """See that weights or references from elsewhere meet labels whose order is beyond doubt.

    Raises:
        UserError: numbered class folders are sorted as text, and the study takes weights or a reference as given.
    """
    if not isinstance(study.data, ImageFolder):
        return
    given = [f"checkpoints.{name}" for name in study.checkpoints]
    given += [
        f"metrics: {kind.kind}: reference" for kind in study.metrics.extractors if getattr(kind, "reference", None)
    ]
    finding = describe_order(folder_classes(study.data)) if given else None
    if finding is not None:
        raise UserError(f"{given[0]}: what is given counts labels in an order of its own, but {finding}.")


def _abbreviated(names: Sequence[str], limit: int = 5) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown}, ..."
