"""The report of a study that is still running, about the runs that are evaluated.

As a program it writes it in a process of its own; the study is read from standard input as JSON.
"""

import re
import sys
from pathlib import Path

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import atomic_folder
from dit_scaling.config.stages import Stages
from dit_scaling.config.study import Study
from dit_scaling.data.assets import open_stages
from dit_scaling.report.partial import PARTIAL, is_whole, reduced, write_parts


def write_report_so_far(study: Study, stages: Stages, results: Path) -> Path | None:
    """Write ``results``/partial/report.html about the variants whose runs are all evaluated, or their first seeds are.

    Returns:
        the page, which says of how many runs it is; None where there is no such variant.

    Raises:
        UserError: something that a whole variant needs is damaged, or the disk is full.
    """
    first_seeds = _of_first_seed(study)
    for some in (study, first_seeds) if first_seeds != study else (study,):
        whole = tuple(name for name in some.variants if is_whole(some, stages, results, name))
        if whole:
            part, runs = reduced(some, whole), len(whole) * len(some.training.seeds)
            with atomic_folder(results / PARTIAL) as folder:
                write_parts(part, results, folder, [])
                page = folder / "report.html"
                total = len(study.variants) * len(study.training.seeds)
                page.write_text(mark(page.read_text(encoding="utf-8"), runs, total), encoding="utf-8")
            return results / PARTIAL / "report.html"
    return None


def mark(html: str, runs: int, total: int) -> str:
    """A page with a first line that says of how many runs it is."""
    note = (
        f'<p role="note" class="preliminary"><b>Preliminary:</b> as of '
        f"{runs} of {total} runs. The study is still running, and its verdicts can change.</p>"
    )
    return re.sub(r"(<body[^>]*>)", lambda body: body[1] + note, html, count=1)


def _of_first_seed(study: Study) -> Study:
    training = study.training.model_copy(update={"seeds": study.training.seeds[:1]})
    return study.model_copy(update={"training": training})


def main() -> None:
    """Write the report of the study that is read; say where, or what is wrong."""
    study = Study.model_validate_json(sys.stdin.read())
    results = Path("results", study.study)
    try:
        write_report_so_far(study, open_stages(study, results), results)
    except UserError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
