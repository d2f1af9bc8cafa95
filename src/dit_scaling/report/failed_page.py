"""The page of a study of which nothing is whole yet: what failed, and where its log is."""

from collections.abc import Sequence
from pathlib import Path

from dit_scaling.common.files import atomic_path
from dit_scaling.report.render import render
from dit_scaling.results.job_records import JobRecord


def write_failed_page(study: str, failures: Sequence[JobRecord], consequence: str, output: Path) -> None:
    """Write one page about the failures alone; ``consequence`` is a sentence on what that means."""
    html = render("failed.html.j2", study=study, failures=failures, consequence=consequence, root="..")
    with atomic_path(output) as temporary:
        temporary.write_text(html, encoding="utf-8")
