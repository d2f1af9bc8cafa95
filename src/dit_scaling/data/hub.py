"""Fetching a data set of Parquet files from the Hugging Face hub, at one commit and whole."""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

from dit_scaling.common.errors import UserError
from dit_scaling.config.image_settings import Parquet
from dit_scaling.data.assets import Asset
from dit_scaling.data.fetch import TIMEOUT_SECONDS, faults_named, fetch, hub_endpoint
from dit_scaling.data.hub_record import HubRecord, hub_parts_of, read_record
from dit_scaling.data.parquet_split import choose_split

SPARE_BYTES = 1 << 30

log = logging.getLogger(__name__)


def fetch_images(data: Parquet) -> Iterator[Path]:
    """Fetch the files of the study's split of ``data.hub`` into ``data.path``, one by one; what is there is compared.

    Without a commit in ``data.hub``, the newest one is taken at the first fetch and the recorded one from then on. The
    record is written before the first file, so that a fetch that was stopped goes on with the same commit.

    Yields:
        each file, once it is there and has the sha256 that the hub states.

    Raises:
        UserError: the hub refuses, has no such data set, commit or split, serves something else than it states, or
            cannot be reached; the disk is full; or the folder holds another data set.
    """
    assert data.hub is not None
    repository, revision = hub_parts_of(data.hub)
    root = Path(data.path)
    known = read_record(root)
    if known is not None and not known.is_of(data.hub):
        raise UserError(
            f"data.hub: {data.hub}, but {root} holds {known.name}. Choose another data.path, or delete that folder."
        )
    revision, stated = _list_files(repository, revision or (known.revision if known else None))
    chosen = choose_split(stated, data.split, f"data.hub: {repository}@{revision}")
    assets = {name: Asset(name, f"hf://datasets/{repository}@{revision}/{name}", stated[name][1]) for name in chosen}
    sizes = {name: stated[name][0] for name in chosen}
    _require_room(root, sum(size for name, size in sizes.items() if not (root / name).is_file()))
    log.info("%s@%s: %d files, %.1f GB, to %s", repository, revision, len(sizes), sum(sizes.values()) / 1e9, root)
    HubRecord(repository, revision, {**(known.files if known else {}), **sizes}).write(root)
    for name, asset in assets.items():
        path = fetch(asset, root)
        if path.stat().st_size != sizes[name]:
            raise UserError(
                f"{path} has {path.stat().st_size:,} bytes, but the hub states {sizes[name]:,}. Delete it, and fetch "
                "it again."
            )
        yield path


def _list_files(repository: str, revision: str | None) -> tuple[str, dict[str, tuple[int, str | None]]]:
    """The commit, of None the newest, and each of its files with its size and, where the hub states it, its sha256.

    Raises:
        UserError: it cannot be had.
    """
    from huggingface_hub import HfApi

    address = f"{hub_endpoint()}/datasets/{repository}" + (f"/tree/{revision}" if revision else "")
    with faults_named(address, f"{hub_endpoint()}/datasets/{repository}"):
        info = HfApi(endpoint=hub_endpoint()).dataset_info(
            repository, revision=revision, files_metadata=True, timeout=TIMEOUT_SECONDS
        )
        files = {
            file.rfilename: (int(file.size or 0), file.lfs.sha256 if file.lfs else None) for file in info.siblings or ()
        }
    if not info.sha or revision not in (None, info.sha):
        raise UserError(f"{address}: the hub answers with commit {info.sha}, so nothing was fetched of it.")
    return info.sha, files


def _require_room(root: Path, needed: int) -> None:
    """See that the disk has room for what is to be fetched, before hours of it.

    Raises:
        UserError: it has not.
    """
    there = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    if needed and needed + SPARE_BYTES > free:
        raise UserError(
            f"data.path: {root} needs {needed / 1e9:,.1f} GB more, but its disk has {free / 1e9:,.1f} GB free. Make "
            "room, or choose a folder on another disk."
        )
