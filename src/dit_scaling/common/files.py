"""Files that appear whole or not at all, and digests of their content."""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from dit_scaling.common.errors import DiskError, UserError

DISK_FAULTS = frozenset(
    {errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.EPERM, errno.EROFS, errno.ESTALE}
)

TEMPORARY = ".tmp-"  # begins the names of what is not yet whole


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is flushed to disk and renamed to ``path``.

    The temporary name ends like the final one, so libraries that choose a format by suffix keep working. A link is
    written through: what it names is replaced, the link stays. The file has the mode that the umask leaves of 666.
    On an exception nothing is left behind and an older ``path`` stays as it was.

    Raises:
        UserError: ``path`` is there and no regular file, or a link that leads nowhere.
        DiskError: the disk is full, read-only or failing.
    """
    with disk_faults_named(path):
        target = _writable_target(path, stat.S_ISREG, "a regular file")
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f"{TEMPORARY}{secrets.token_hex(6)}-{target.name}")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        mode = stat.S_IMODE(os.fstat(handle).st_mode)
        os.close(handle)
        try:
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.chmod(mode)  # Some libraries replace the file by one of their own.
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


def require_writable(path: Path) -> None:
    """See, before long work, that a file can be written; one that is there stays as it is.

    Raises:
        UserError, DiskError: as `atomic_path`.
    """
    with suppress(_TriedError), atomic_path(path):
        raise _TriedError


class _TriedError(Exception):
    """Nothing is to be written yet."""


def leftovers(folder: Path) -> list[Path]:
    """Files and folders below ``folder`` that killed processes left half-written, or others are writing now."""
    return sorted(folder.rglob(f"{TEMPORARY}*"))


def remove_leftovers(folder: Path) -> None:
    """Delete what killed processes left half-written below ``folder``; nobody else may be writing there."""
    for path in leftovers(folder):
        _remove(path)


def remove_leftovers_of(path: Path) -> None:
    """Delete what killed processes left of ``path`` itself, beside it; nobody else may be writing it."""
    for left in path.parent.glob(f"{TEMPORARY}*"):
        if left.name.removeprefix(TEMPORARY).partition("-")[2] == path.name:
            _remove(left)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside ``path``; on success it replaces ``path`` as a whole.

    Links and modes as in `atomic_path`.

    Raises:
        UserError: ``path`` is there and no folder, or a link that leads nowhere.
        DiskError: the disk is full, read-only or failing.
    """
    with disk_faults_named(path):
        target = _writable_target(path, stat.S_ISDIR, "a folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f"{TEMPORARY}{secrets.token_hex(6)}-{target.name}")
        temporary.mkdir()
        try:
            yield temporary
            if target.exists():
                shutil.rmtree(target)
            os.replace(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _writable_target(path: Path, is_kind: Callable[[int], bool], kind: str) -> Path:
    """The path that is to be replaced: ``path`` with its links followed.

    Raises:
        UserError: there is something that a rename would destroy, or a link leads nowhere.
    """
    target = Path(os.path.realpath(path))
    try:
        # Not of `target`: /dev/stdout leads to names that no path has.
        mode = path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink() and not target.parent.is_dir():
            raise UserError(f"{path} is a link to {target}, and there is no folder {target.parent}. Make it.") from None
        return target
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise UserError(f"{path} is a link that leads back to itself. Name another file.") from None
    if not is_kind(mode):
        raise UserError(f"{path} is there already and is not {kind}, so it is left as it is. Name another one.")
    return target


@contextmanager
def disk_faults_named(path: Path) -> Iterator[None]:
    """Tell a disk that is full, read-only or failing from an error in the code.

    Raises:
        DiskError: the disk's fault, with ``path``; every other error passes.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        # safetensors has errors of its own, which carry the system's number in their text alone.
        written = re.search(r"\(os error (\d+)\)", str(error))
        number = error.errno if isinstance(error, OSError) else int(written[1]) if written else None
        if number not in DISK_FAULTS:
            raise
        raise DiskError(
            f"{path} cannot be written: {os.strerror(number)}. Nothing half-written is left. Make room or allow "
            "writing there, then run the same command again."
        ) from None


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text. NaN and infinity are refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """First 16 hex digits of the sha256 of ``value`` as canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's content, read in one streaming pass."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading, which a pipe, a device or a folder is not: they may have no end.

    Raises:
        UserError: it is of another kind.
        OSError: it is missing, or cannot be opened.
    """
    # Without waiting for whoever would write into a pipe.
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise UserError(f"{path} cannot be read: it is no regular file. Write its content into one.")
    return os.fdopen(number, "rb")


def read_regular(path: Path, most: int) -> bytes:
    """Content of a regular file of at most ``most`` bytes.

    Raises:
        UserError: it is missing, of another kind, larger, or cannot be read.
    """
    try:
        with open_regular(path) as stream:
            content = stream.read(most + 1)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}.") from None
    if len(content) > most:
        raise UserError(f"{path} is larger than the {most:,} bytes that are read of such a file.")
    return content


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON with sorted keys, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: the file is missing, unreadable or not JSON.
    """
    try:
        with open_regular(path) as stream:
            return json.loads(stream.read())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist. Run the stage that makes it, or check the path.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid JSON ({error}). Delete it and rerun the stage that makes it.") from None


def parse_json_once(text: str | bytes) -> Any:
    """JSON in which no key stands twice: of two Python would take the last.

    Raises:
        ValueError: the text is not JSON, or a key stands twice in one object.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
        if twice:
            raise ValueError(f"the key {twice[0]!r} stands there twice")
        return dict(pairs)

    return json.loads(text, object_pairs_hook=once)


def read_json_lines(path: Path) -> list[Any]:
    """Read a file with one JSON value a line.

    Raises:
        UserError: the file is missing, unreadable, or a line is not JSON.
    """
    try:
        with open_regular(path) as stream:
            lines = stream.read().decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}. Rerun the stage that makes it.") from None
    try:
        return [json.loads(line) for line in lines]
    except json.JSONDecodeError as error:
        raise UserError(f"{path} holds a line that is not JSON ({error}). Rerun the stage that makes it.") from None
