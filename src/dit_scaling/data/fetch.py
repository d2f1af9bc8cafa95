"""Fetching the files of `assets` into a cache: whole, of the right sha256, or not at all."""

import http.client
import logging
import urllib.error
import urllib.request
from pathlib import Path

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import atomic_path, sha256_file
from dit_scaling.common.progress import track
from dit_scaling.data.assets import Asset

CHUNK = 1 << 20
TIMEOUT_SECONDS = 60

log = logging.getLogger(__name__)


def fetch(asset: Asset, cache: Path) -> Path:
    """Fetch one file into ``cache``, unless it is there already; either way its sha256 is compared.

    What arrived of a broken download stays as FILE.part, and the next call goes on from there. The sha256 of a file
    that is not pinned is recorded as FILE.sha256 when it is first fetched.

    Returns:
        where it is.

    Raises:
        UserError: it cannot be had, or is not the file that it should be.
    """
    path = cache / asset.name
    if path.is_file():
        _compare(asset, path, path)
        return path
    part = path.with_name(f"{path.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    _download(asset.url, part)
    try:
        _compare(asset, part, path)
    except UserError:
        part.unlink()
        raise
    part.replace(path)
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
            f"It was damaged, or {asset.url} serves another file now. Delete what is there and fetch it again."
        )


def _download(url: str, part: Path) -> None:
    """Append to ``part`` what it lacks of ``url``, or write it anew where the server cannot go on from the middle."""
    begun = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={begun}-"} if begun else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            if response.status != http.client.PARTIAL_CONTENT:
                begun = 0
            length = response.headers["Content-Length"]
            total = begun + int(length) if length else None
            chunks = iter(lambda: response.read(CHUNK), b"")
            with part.open("ab" if begun else "wb") as stream:
                for chunk in track(chunks, -(-int(length or 0) // CHUNK), f"{part.stem}, MiB", 10.0):
                    stream.write(chunk)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:  # It was whole, but not compared any more.
            part.unlink()
            _download(url, part)
            return
        raise UserError(f"{url} answers {error.code} {error.reason}. Check the name in the config.") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise UserError(
            f"{url} cannot be fetched ({reason}). Where jobs have no network, run `dit-scaling prefetch --configfile "
            "CONFIG` on a machine that has one, with the same resources.cache."
        ) from None
    found = part.stat().st_size
    if total is not None and found != total:
        raise UserError(f"{url}: only {found:,} of {total:,} bytes arrived. Run it again: it goes on from there.")
