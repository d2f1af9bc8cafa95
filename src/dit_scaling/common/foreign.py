"""What often lies in the place of a file that was to be fetched."""

from pathlib import Path

FOREIGN = (
    (
        b"version https://git-lfs",
        "a pointer of Git LFS in the place of the file: run `git lfs pull` where it came from",
    ),
    (b"<!doctype html", "a web page, as a download that failed leaves it: fetch the file again"),
    (b"<html", "a web page, as a download that failed leaves it: fetch the file again"),
)
"""How such files begin, in lower case, and what they are."""


def name_foreign(begin: bytes) -> str | None:
    """What a file is that begins so, and what to do; None where it is none of `FOREIGN`."""
    text = begin[:64].lstrip().lower()
    return next((what for start, what in FOREIGN if text.startswith(start)), None)


def name_foreign_file(path: Path) -> str | None:
    """As `name_foreign`, of a file; None also where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return name_foreign(stream.read(64))
    except OSError:
        return None
