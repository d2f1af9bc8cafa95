"""The page's templates with style, script and content policy filled in."""

from typing import Any

from markupsafe import Markup

from dit_scaling.common.pages import STYLES, content_policy, page_environment, read_style

PACKAGE = "dit_scaling.report"


def render(template: str, **values: Any) -> str:
    """Fill a template of this package; ``style``, ``script`` and ``policy`` are given to it."""
    style = "\n".join([*(read_style(name) for name in (*STYLES, "chart.css")), _own("report.css")])
    script = _own("report.js")
    given = {"style": Markup(style), "script": Markup(script), "policy": content_policy([style], [script])}
    return page_environment(PACKAGE).get_template(template).render(**given, **values)


def _own(name: str) -> str:
    return read_style(name, PACKAGE, "templates")
