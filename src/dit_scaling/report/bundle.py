"""The page with all files that it links, as one ZIP that opens anywhere."""

import os
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import atomic_path

EPOCH = (1980, 1, 1, 0, 0, 0)  # equal files give equal bytes


class _Links(HTMLParser):
    """Addresses of files beside a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002  # its signature
        for name, value in attrs:
            parts = urlsplit(value or "")
            if name in ("href", "src") and parts.path and not parts.scheme and not parts.netloc:
                self.found.append(unquote(parts.path))


def links_of(page: Path) -> list[str]:
    """The files that a page links, relative to its folder, each once.

    Raises:
        UserError: there is no such page.
    """
    try:
        text = page.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{page} does not exist. Make the report first: snakemake --cores 2.") from None
    links = _Links()
    links.feed(text)
    return list(dict.fromkeys(os.path.normpath(link) for link in links.found))


def bundle_report(page: Path, archive: Path) -> list[str]:
    """Write ``archive`` with the page and every file that it, or a page among these, links, in their folders.

    Files outside the results that hold the page are left out, as a ZIP has no place for them.

    Args:
        page: results/STUDY/report.html, or the page of a partial report in a folder of it.
        archive: the ZIP to write.

    Returns:
        the links that were left out, since nothing is there or they lead outside.

    Raises:
        UserError: there is no such page.
        DiskError: the disk is full, read-only or failing.
    """
    home = page.parent.resolve()
    root = home.parent if any(link.startswith("..") for link in links_of(page)) else home
    wanted, seen, lost = [page.resolve()], set[Path](), []
    while wanted:
        file = wanted.pop()
        if file in seen:
            continue
        seen.add(file)
        if file.suffix == ".html":
            for link in links_of(file):
                target = (file.parent / link).resolve()
                if target.is_file() and target.is_relative_to(root):
                    wanted.append(target)
                else:
                    lost.append(os.path.relpath(file.parent / link, home))
    with atomic_path(archive) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as bundle:
        for file in sorted(seen):
            entry = zipfile.ZipInfo(str(file.relative_to(root)), EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            bundle.writestr(entry, file.read_bytes())
    return sorted(set(lost))
