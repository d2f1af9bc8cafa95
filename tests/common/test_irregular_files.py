"""Pipes and devices in the place of files that people give: each reader refuses them at once."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dit_scaling.claims import read_metrics_table
from dit_scaling.common.errors import UserError
from dit_scaling.common.files import read_json, read_json_lines
from dit_scaling.config.yaml_file import read_yaml
from dit_scaling.data.class_order import read_names
from dit_scaling.latents.manifest import read_manifest


def names(path: Path) -> object:
    return read_names(str(path), "data.class_names")


READERS = [read_yaml, read_json, read_json_lines, names, read_metrics_table, read_manifest]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("kind", ["pipe", "zeros", "folder"])
def test_only_regular_files_are_read(tmp_path: Path, read: Callable[[Path], object], kind: str) -> None:
    path = tmp_path / "given"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "zeros":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(UserError, match="given cannot be read: it is no regular file"):
        read(path)
