"""Ways to make one file of a study bad. Each returns a function of the study's folder that does it."""

import io
import json
import pickle
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from dit_scaling.common.files import sha256_file
from dit_scaling.common.seals import broken, seal, sealed_files
from dit_scaling.latents.manifest import Split, content_digest
from jobs import RESULTS

Damage = Callable[[Path], object]

MANIFEST = f"{RESULTS}/latents/manifest.json"
SHARD = f"{RESULTS}/latents/train-00000.tar"


def nothing(_folder: Path) -> None:
    """For command lines that are bad by themselves."""


def config(changes: dict[str, Any]) -> Damage:
    """Set keys of study.yaml, written a.b.c, to other values; `...` removes a key."""

    def damage(folder: Path) -> None:
        content = yaml.safe_load((folder / "study.yaml").read_text())
        for key, value in changes.items():
            *parents, last = key.split(".")
            section = content
            for parent in parents:
                section = section.setdefault(parent, {})
            section[last] = value
            if value is ...:
                del section[last]
        (folder / "study.yaml").write_text(yaml.safe_dump(content, sort_keys=False))

    return damage


def write(file: str, content: str | bytes) -> Damage:
    """Put other content, or a new file, there."""

    def damage(folder: Path) -> None:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content.encode() if isinstance(content, str) else content)

    return damage


def cut(file: str, share: float = 0.6) -> Damage:
    """Keep the first ``share`` of the bytes."""

    def damage(folder: Path) -> None:
        whole = (folder / file).read_bytes()
        (folder / file).write_bytes(whole[: int(len(whole) * share)])

    return damage


def flip(file: str, position: int) -> Damage:
    """Change one bit."""

    def damage(folder: Path) -> None:
        content = bytearray((folder / file).read_bytes())
        content[position] ^= 1
        (folder / file).write_bytes(content)

    return damage


def lose(file: str) -> Damage:
    return lambda folder: (folder / file).unlink()


def empty_folder(file: str) -> Damage:
    def damage(folder: Path) -> None:
        shutil.rmtree(folder / file, ignore_errors=True)
        (folder / file).mkdir()

    return damage


def edit(file: str, change: Callable[[Any], object]) -> Damage:
    """Change a JSON file's content in place."""

    def damage(folder: Path) -> None:
        content = json.loads((folder / file).read_text())
        change(content)
        (folder / file).write_text(json.dumps(content))

    return damage


def arrays(file: str, **changes: Any) -> Damage:
    """Replace arrays of an npz; objects are pickled into it."""

    def damage(folder: Path) -> None:
        with np.load(folder / file) as stored:
            content = {**stored, **changes}
        np.savez(folder / file, allow_pickle=True, **content)

    return damage


def array(file: str, value: Any) -> Damage:
    """A .npy there; an object array is pickled."""

    def damage(folder: Path) -> None:
        with (folder / file).open("wb") as stream:
            np.save(stream, value, allow_pickle=True)

    return damage


def shard_of(*members: tuple[str, bytes]) -> Damage:
    """A shard of these members in place of the first, and a manifest that vouches for it."""

    def damage(folder: Path) -> None:
        with tarfile.open(folder / SHARD, "w") as archive:
            for name, content in members:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        manifest = json.loads((folder / MANIFEST).read_text())
        manifest["splits"]["train"]["shards"][0]["sha256"] = sha256_file(folder / SHARD)
        splits = {name: Split.model_validate_json(json.dumps(split)) for name, split in manifest["splits"].items()}
        manifest["content"] = content_digest(splits, manifest["scale"])
        (folder / MANIFEST).write_text(json.dumps(manifest))

    return damage


def resealed(folder: Path) -> None:
    """Vouch for all files as they are now, so that what is wrong with them is for their readers to find."""
    for path in sealed_files(folder / RESULTS):
        if path.is_file() and broken(path):
            seal([path], folder / RESULTS)


class Planted:
    """Unpickling it leaves the file `unpickled` in the working directory."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("unpickled"),)


PICKLE = pickle.dumps(Planted())


def both(*damages: Damage) -> Damage:
    def damage(folder: Path) -> None:
        for one in damages:
            one(folder)

    return damage
