"""The figures of a study: a row of `DRAWINGS` each, titles and sections in `report.captions.FIGURES`."""

from collections.abc import Callable, Mapping
from pathlib import Path

from dit_scaling.charts.sheet import draw_sheet
from dit_scaling.common.csv_file import write_csv
from dit_scaling.common.files import atomic_path
from dit_scaling.report.added_samplings import read_samplings
from dit_scaling.report.captions import FIGURES
from dit_scaling.report.figures.among_published import draw_field
from dit_scaling.report.figures.beside_table4 import draw_published
from dit_scaling.report.figures.bubbles import draw_bubbles
from dit_scaling.report.figures.family_lines import draw_families
from dit_scaling.report.figures.held_out import draw_held_out
from dit_scaling.report.figures.losses import draw_losses
from dit_scaling.report.figures.material import Drawn, Material, read_curves
from dit_scaling.report.figures.others import draw_others
from dit_scaling.report.figures.sampling import draw_sampling
from dit_scaling.report.figures.scaling import draw_scaling
from dit_scaling.report.figures.training import draw_compute, draw_steps
from dit_scaling.report.grid import arrange_samples, draw_samples, tabulate_samples
from dit_scaling.report.measurements import read_measurements

DRAWINGS: Mapping[str, Callable[[Material], Drawn]] = {
    "fid-gflops": draw_scaling,
    "families": draw_families,
    "bubbles": draw_bubbles,
    "metrics": draw_others,
    "fid-compute": draw_compute,
    "fid-steps": draw_steps,
    "loss": draw_losses,
    "held-out-loss": draw_held_out,
    "sampling-compute": draw_sampling,
    "field": draw_field,
    "published": draw_published,
}
"""How each figure of `captions.FIGURES` is drawn, but for the samples, which are pictures."""


def draw_figures(
    table: Path,
    curves: Path,
    levels: Path,
    claims: Path,
    samples: Mapping[str, Path],
    folder: Path,
    sampling_steps: Path | None = None,
) -> None:
    """Write every figure of ``captions.FIGURES`` as NAME.svg and NAME.csv (the data drawn) in ``folder``.

    Equal data give equal bytes. The SVG follows light and dark, and opens anywhere.

    Args:
        table: metrics.parquet; the first guidance scale is drawn, scaling figures at the last common step.
        curves: training.csv with variant, seed, step, loss, gradient_norm.
        levels: levels.json of the reference.
        claims: claims.json of the aggregate stage; power laws leave out the variants that it does.
        samples: the first part of the samples of each variant.
        folder: where the figures go.
        sampling_steps: the table of evaluations in further numbers of sampling steps, where there are any.

    Raises:
        UserError: as ``read_measurements``, ``read_samplings`` and ``arrange_samples``; the training curves are missing
            or lack a column.
    """
    measured = read_measurements(table, levels, claims)
    samplings = read_samplings([sampling_steps] if sampling_steps else [], measured)
    write_figures(Material(measured, read_curves(curves), samplings=samplings), samples, folder)


def write_figures(material: Material, samples: Mapping[str, Path], folder: Path) -> None:
    """As `draw_figures`, from what it reads.

    Raises:
        UserError: as ``arrange_samples``.
    """
    grid = arrange_samples(material.measured.final, samples)
    for name in FIGURES:
        if name == "samples":
            picture, data = draw_samples(grid), tabulate_samples(grid)
        else:
            drawn = DRAWINGS[name](material)
            picture, data = draw_sheet(drawn.finding, drawn.text, drawn.panels), drawn.data
        with atomic_path(folder / f"{name}.svg") as temporary:
            temporary.write_text(picture, encoding="utf-8")
        write_csv(data, folder / f"{name}.csv")
