"""`dit-scaling report`: a finished study's page anew, with points of others, or with all its files as a ZIP."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from dit_scaling.common.errors import UserError
from dit_scaling.config.stages import ReportSettings
from dit_scaling.config.study import Study
from dit_scaling.report.added_points import read_points
from dit_scaling.report.added_samplings import read_samplings
from dit_scaling.report.bundle import bundle_report
from dit_scaling.report.drawings import write_figures
from dit_scaling.report.figures.material import Material, read_curves
from dit_scaling.report.inputs import find_inputs
from dit_scaling.report.measurements import read_measurements
from dit_scaling.report.page import write_report

PAGE = "report.html"
WITH_POINTS = "report-with-points.html"
FIGURES_WITH_POINTS = "figures-with-points"


def make_report(
    study: Study,
    results: Path,
    add: Path | None = None,
    sampled: Sequence[Path] = (),
    bundle: Path | None = None,
) -> tuple[Path, list[str]]:
    """Write what is asked for from a study whose aggregate and figures stages are done.

    Args:
        study: the study.
        results: its folder.
        add: a CSV of points to show beside the study's, see ``added_points.read_points``; the page then is
            ``report-with-points.html`` with figures of its own, and the study's own page stays as it is.
        sampled: tables of metrics of the study's runs, sampled in other ways, see ``added_samplings.read_samplings``;
            for the same page.
        bundle: a ZIP for the page with all files that it links.

    Returns:
        the page, or the ZIP where one was asked for; and the links that the ZIP has no file for.

    Raises:
        UserError: the study is not finished, or one for laws, which has no report; or a file is missing or broken.
    """
    if study.laws:
        raise UserError(f"A study with `laws` has no report. What it found: dit-scaling laws {results}.")
    page = results / PAGE
    if add is not None or sampled:
        page = results / WITH_POINTS
        inputs = replace(find_inputs(study, results, results), figures=results / FIGURES_WITH_POINTS)
        measured = read_measurements(inputs.table, inputs.levels, inputs.claims)
        beside = pd.DataFrame() if add is None else read_points(add, measured.metric)
        further = [inputs.sampling_steps] if inputs.sampling_steps else []
        samplings = read_samplings([*further, *sampled], measured)
        material = Material(measured, read_curves(inputs.curves), beside, samplings)
        write_figures(material, dict(zip(study.variants, inputs.samples, strict=True)), inputs.figures)
        write_report(ReportSettings(study=study), inputs, page, material=material)
    elif not page.is_file():
        raise UserError(f"{page} does not exist. Make it first: snakemake --cores 2.")
    if bundle is None:
        return page, []
    return bundle, bundle_report(page, bundle)
