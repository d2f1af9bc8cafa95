"""HTML pages in one style: one file each, which asks nothing of any other; scripts and styles only under their hash."""

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files

import jinja2

STYLES = ("colours.css", "page.css")
"""Of every page; charts add ``chart.css``."""


def page_environment(package: str) -> jinja2.Environment:
    """Templates of ``package``/templates; everything from outside is escaped."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def read_style(name: str, package: str = "dit_scaling.common", folder: str = "page") -> str:
    """A style sheet, or a script, of the package's data."""
    return files(package).joinpath(folder, name).read_text(encoding="utf-8")


def content_policy(styles: Sequence[str], scripts: Sequence[str] = ()) -> str:
    """A content security policy: these texts of ``<style>`` and ``<script>``, pictures inside the page, nothing else.

    Args:
        styles: exactly what stands between the tags.
        scripts: likewise.
    """
    allowed = {"style-src": styles, "script-src": scripts}
    parts = ["default-src 'none'", "img-src data:"]
    parts += [f"{kind} {' '.join(map(_hash, texts))}" for kind, texts in allowed.items() if texts]
    return "; ".join([*parts, "base-uri 'none'", "form-action 'none'"])


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
