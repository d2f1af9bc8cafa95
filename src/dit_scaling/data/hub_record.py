"""What `dit-scaling prefetch` fetched of a data set on the hub, as it recorded it beside the files."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import read_json, write_json
from dit_scaling.config.image_settings import HUB_DATASET, ImageSettings, Parquet

RECORD_FILE = ".dit-scaling-hub.json"
HOW = "Run `dit-scaling prefetch CONFIG` on a machine that has a network"


@dataclass(frozen=True)
class HubRecord:
    """Which files of which data set a folder holds."""

    repository: str
    """OWNER/NAME."""
    revision: str
    """Commit, 40 hex digits."""
    files: Mapping[str, int]
    """Path below the folder, and in the repository, to size in bytes."""

    @property
    def name(self) -> str:
        """OWNER/NAME@COMMIT."""
        return f"{self.repository}@{self.revision}"

    def is_of(self, hub: str) -> bool:
        """Whether these are files of what ``data.hub`` names."""
        repository, revision = hub_parts_of(hub)
        return self.repository == repository and revision in (None, self.revision)

    def write(self, root: Path) -> None:
        """Keep it in the folder ``root``."""
        content = {"repository": self.repository, "revision": self.revision, "files": dict(self.files)}
        write_json(root / RECORD_FILE, content)


def hub_parts_of(hub: str) -> tuple[str, str | None]:
    """Repository and commit of ``data.hub``; None where it names no commit."""
    match = HUB_DATASET.fullmatch(hub)
    assert match is not None, "the config has been checked"
    return match["repository"], match["revision"]


def read_record(root: Path) -> HubRecord | None:
    """The record of a folder, None where it has none.

    Raises:
        UserError: it is damaged.
    """
    path = root / RECORD_FILE
    if not path.is_file():
        return None
    content = read_json(path)
    try:
        files = {str(name): int(size) for name, size in content["files"].items()}
        return HubRecord(str(content["repository"]), str(content["revision"]), files)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError(f"{path} is no record of what was fetched. Delete it, then: {HOW}.") from None


def record_of(data: ImageSettings) -> HubRecord | None:
    """The record of images that come from the hub; None of others, and where nothing was fetched yet.

    Raises:
        UserError: it is damaged.
    """
    return read_record(Path(data.path)) if isinstance(data, Parquet) and data.hub is not None else None


def pinned(data: ImageSettings) -> ImageSettings:
    """The same images with the commit that was fetched in ``data.hub``, whether the config names it or not."""
    record = record_of(data)
    return data if record is None else data.model_copy(update={"hub": record.name})


def require_fetched(hub: str, root: Path) -> HubRecord:
    """The record of a folder into which ``hub`` was fetched.

    Raises:
        UserError: nothing was fetched into it, or another data set or commit.
    """
    record = read_record(root)
    if record is None:
        raise UserError(f"data.hub: {hub} was not fetched to {root} yet. {HOW}; jobs need none.")
    if not record.is_of(hub):
        raise UserError(
            f"data.hub: {hub}, but what was fetched to {root} is {record.name}. Correct data.hub, or choose another "
            "data.path and fetch it there."
        )
    return record


def require_whole_files(record: HubRecord, names: Iterable[str], hub: str, root: Path) -> None:
    """See that files of the record are there; looks at names and sizes alone. Those of other splits may be missing.

    Raises:
        UserError: one of ``names`` was not fetched, or not all of it.
    """
    for name in names:
        path, size = root / name, record.files[name]
        if not path.is_file() or path.stat().st_size != size:
            found = f"has {path.stat().st_size:,} bytes instead of {size:,}" if path.is_file() else "is missing"
            raise UserError(
                f"data.hub: of what was fetched of {hub}, {path} {found}. {HOW}: it fetches what is missing."
            )
