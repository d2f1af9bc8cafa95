"""Fail where a page of the built documentation asks for something from a network, or for a file that is not there.

Links that a reader may follow can lead anywhere; what a browser loads by itself may not.

python .ci/check_site.py site
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {
    "audio": ("src",),
    "embed": ("src",),
    "iframe": ("src",),
    "img": ("src",),
    "input": ("src",),
    "link": ("href",),
    "object": ("data",),
    "script": ("src",),
    "source": ("src",),
    "track": ("src",),
    "video": ("src", "poster"),
}
"""Attributes by element whose address a browser opens unasked."""
ADDRESS_ONLY = ("canonical", "next", "prev")
"""Values of ``rel`` for which it does not."""


class _Loads(HTMLParser):
    """Addresses that a page makes a browser open."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if given.get("rel") not in ADDRESS_ONLY:
            self.found += [given[name] or "" for name in LOADED.get(tag, ()) if name in given]


def loads_of(page: Path) -> list[str]:
    """The addresses that a browser opens with the page."""
    parser = _Loads()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser.found


def faults_of(page: Path) -> list[str]:
    """What the page asks for that does not lie in the site."""
    faults = []
    for address in loads_of(page):
        parts = urlsplit(address)
        if parts.scheme == "data":
            continue
        if parts.scheme or parts.netloc:
            faults.append(f"{page}: asks for {address}")
        elif not (page.parent / unquote(parts.path)).is_file():
            faults.append(f"{page}: {address} is not there")
    return faults


def main() -> int:
    pages = sorted(Path(sys.argv[1]).rglob("*.html"))
    # 404.html is for web servers and has absolute addresses.
    problems = [fault for page in pages if page.name != "404.html" for fault in faults_of(page)]
    if not pages:
        problems = [f"{sys.argv[1]}: no pages"]
    print("\n".join(problems) or f"{sys.argv[1]}: {len(pages)} pages ask for nothing that is not there")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
