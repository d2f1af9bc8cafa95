"""Fetching the files of `assets` into a cache: whole, of the right sha256, or not at all.

pooch and huggingface_hub do the fetching. What is not whole lies in the cache's `.partial`, never beside what is.
"""

import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from filelock import FileLock

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import DISK_FAULTS, atomic_path, disk_faults_named, sha256_file
from dit_scaling.data.assets import Asset, hub_file

PARTIAL = ".partial"
TIMEOUT_SECONDS = 60
HUB = "https://huggingface.co"
REFUSED = frozenset({401, 403})
"""What the hub answers where one may not have a repository, and 401 also where there is none of that name."""

log = logging.getLogger(__name__)


def fetch(asset: Asset, cache: Path) -> Path:
    """Fetch one file into ``cache``, unless it is there already; either way its sha256 is compared.

    The sha256 of a file that is not pinned is recorded as FILE.sha256 when it is first fetched; its server must say how
    long it is. Of several calls at once one fetches and the others wait.

    Returns:
        where it is.

    Raises:
        UserError: it cannot be had, or is not the file that it should be.
    """
    name = PurePosixPath(asset.name)
    if name.is_absolute() or ".." in name.parts:
        raise UserError(f"{asset.name} leads out of the cache {cache}, so it is not fetched.")
    path, place = cache / name, cache / PARTIAL / name
    with disk_faults_named(path):
        place.mkdir(parents=True, exist_ok=True)
        with FileLock(place.with_name(f"{place.name}.lock")):
            if path.is_file():
                _compare(asset, path, path)
                return path
            found = _download(asset, place)
            try:
                if asset.sha256 is None:
                    _compare_length(asset, found)
                _compare(asset, found, path)
                with atomic_path(path) as temporary:
                    shutil.move(found, temporary)
            finally:
                shutil.rmtree(place)
    log.info("%s fetched", path)
    return path


def _compare(asset: Asset, content: Path, path: Path) -> None:
    """Compare the sha256 of ``content`` with the pinned or recorded one of ``path``; record it where there is none."""
    record = path.with_name(f"{path.name}.sha256")
    found = sha256_file(content)
    recorded = record.read_text().split() if record.is_file() else []
    expected = asset.sha256 or (recorded[0] if recorded else None)
    if expected is None:
        with atomic_path(record) as temporary:
            temporary.write_text(f"{found}  {path.name}\n")
    elif found != expected:
        raise UserError(
            f"{path}: its sha256 is {found}, but the {asset.known_from} one is {expected}. "
            f"It was damaged, or {_address(asset)} serves another file now. Delete what is there and fetch it again."
        )


def _download(asset: Asset, place: Path) -> Path:
    """Fetch into the folder ``place``, which may hold what a killed download left; it begins anew.

    Raises:
        UserError: the address is no web address, or the server does not serve it, not whole, or not in time.
        OSError: the disk is full or failing.
    """
    scheme, host = urlsplit(_address(asset))[:2]
    if scheme not in ("http", "https") or not host:
        raise UserError(
            f"{_address(asset)} cannot be fetched: only addresses that begin with https:// or http:// are. Where it "
            "comes from HF_ENDPOINT, set or unset that."
        )
    hub = hub_file(asset.url)
    with faults_named(_address(asset), hub and f"{hub_endpoint()}/{hub.page}"):
        if hub:
            from huggingface_hub import hf_hub_download

            found = hf_hub_download(
                hub.repository,
                hub.path,
                repo_type="dataset" if hub.of_dataset else None,
                revision=hub.revision,
                local_dir=place,
                endpoint=hub_endpoint(),
            )
            return Path(found)
        import pooch

        pooch.get_logger().setLevel(logging.WARNING)
        downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=TIMEOUT_SECONDS)
        known = asset.sha256 and f"sha256:{asset.sha256}"
        return Path(pooch.retrieve(asset.url, known, place.name, place, downloader=downloader))


def _compare_length(asset: Asset, content: Path) -> None:
    """See that as much arrived as the server says there is, where no sha256 tells.

    Raises:
        UserError: less or more did, or the server does not say how much there is.
    """
    import requests

    hub = hub_file(asset.url)
    # Some servers leave the length out of an answer that they compress.
    ask = {"Accept-Encoding": "identity", **(_hub_headers() if hub else {})}
    with faults_named(_address(asset), hub and f"{hub_endpoint()}/{hub.page}"):
        answer = requests.head(_address(asset), headers=ask, allow_redirects=True, timeout=TIMEOUT_SECONDS)
        stated, arrived = answer.headers.get("Content-Length"), content.stat().st_size
    if stated != str(arrived):
        raise UserError(
            f"{_address(asset)}: {arrived:,} bytes arrived, and the server says that there are {stated or 'any number'}"
            f", so whether it is whole cannot be told. Fetch it yourself, and put it into the cache as {asset.name}."
        )


@contextmanager
def faults_named(address: str, page: str | None = None) -> Iterator[None]:
    """Tell faults of the server and of the way to it; the libraries have errors of a dozen kinds for them.

    Args:
        address: what is asked for.
        page: the repository's page, where that is the hub's: one may have to accept terms there.

    Raises:
        UserError: whatever failed, but for faults of the disk; it does not hold the hub's token.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_FAULTS:
            raise
        cause = error.__cause__ or error  # huggingface_hub wraps them.
        answer = getattr(cause, "response", None)
        if answer is not None:
            login = (
                f" Where its owners ask for it, accept their terms at {page}, and run `hf auth login` or set HF_TOKEN."
                if page and answer.status_code in REFUSED
                else ""
            )
            raise UserError(f"{address} answers {answer.status_code}. Check the name in the config.{login}") from None
        said = _without_token(" ".join(str(cause).split())) or type(cause).__name__
        raise UserError(
            f"{address} cannot be fetched: {said}. Where jobs have no network, run `dit-scaling prefetch CONFIG` on a "
            "machine that has one, with the same resources.cache."
        ) from None


def hub_endpoint() -> str:
    """Where the hub is: HF_ENDPOINT names a mirror; empty, it names none."""
    return (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def _hub_headers() -> dict[str, str]:
    """What the hub is asked with where it is not asked by its library: the token, if there is one."""
    from huggingface_hub import get_token

    token = get_token()
    return {"Authorization": f"Bearer {token}"} if token else {}


def _without_token(text: str) -> str:
    """What a library says, less the token: some quote the header that they could not send."""
    from huggingface_hub import get_token

    token = get_token()
    return text.replace(token, "<token>") if token else text


def _address(asset: Asset) -> str:
    """The web address of an asset."""
    if hub := hub_file(asset.url):
        return f"{hub_endpoint()}/{hub.page}/resolve/{hub.revision}/{hub.path}"
    return asset.url
