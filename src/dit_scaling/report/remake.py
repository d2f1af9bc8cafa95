"""`dit-scaling report`: a finished study's page anew, with points of others, or with all its files as a ZIP."""

from pathlib import Path

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import read_json
from dit_scaling.config.stages import ReportSettings
from dit_scaling.config.study import Study
from dit_scaling.report.added_points import read_points
from dit_scaling.report.bundle import bundle_report
from dit_scaling.report.inputs import find_inputs
from dit_scaling.report.page import write_report

PAGE = "report.html"
WITH_POINTS = "report-with-points.html"


def make_report(
    study: Study, results: Path, add: Path | None = None, bundle: Path | None = None
) -> tuple[Path, list[str]]:
    """Write what is asked for from a study whose aggregate and figures stages are done.

    Args:
        study: the study.
        results: its folder.
        add: a CSV of points to show beside the study's, see ``added_points.read_points``; the page then is
            ``report-with-points.html``, and the study's own page stays as it is.
        bundle: a ZIP for the page with all files that it links.

    Returns:
        the page, or the ZIP where one was asked for; and the links that the ZIP has no file for.

    Raises:
        UserError: the study is not finished, or a file is missing or broken.
    """
    page = results / PAGE
    if add is not None:
        inputs = find_inputs(study, results, results)
        metric = str(read_json(inputs.levels).get("metric", ""))
        page = results / WITH_POINTS
        write_report(ReportSettings(study=study), inputs, page, beside=read_points(add, metric))
    elif not page.is_file():
        raise UserError(f"{page} does not exist. Make it first: snakemake --cores 2.")
    if bundle is None:
        return page, []
    return bundle, bundle_report(page, bundle)
