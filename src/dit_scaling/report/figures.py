"""The figures of a study, in the manner of the paper's 2, 6, 7, 8, 9 and 13, and the held-out loss."""

from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib

from dit_scaling.report.canvas import Drawing, save_drawing
from dit_scaling.report.captions import FIGURES
from dit_scaling.report.curves import draw_losses, draw_steps, read_curves
from dit_scaling.report.grid import arrange_samples, draw_samples
from dit_scaling.report.held_out import draw_held_out
from dit_scaling.report.measurements import read_measurements
from dit_scaling.report.scaling import draw_bubbles, draw_compute, draw_scaling
from dit_scaling.report.style import RC
from dit_scaling.report.table4 import draw_published


def draw_figures(
    table: Path, curves: Path, levels: Path, claims: Path, samples: Mapping[str, Path], folder: Path
) -> None:
    """Write every figure of ``captions.FIGURES`` as NAME.svg, NAME.png and NAME.csv (the data drawn) in ``folder``.

    Args:
        table: metrics.parquet; the first guidance scale is drawn, scaling figures at the last common step.
        curves: training.csv with variant, seed, step, loss, gradient_norm.
        levels: levels.json of the reference.
        claims: claims.json of the aggregate stage; power laws leave out the variants that it does.
        samples: the first part of the samples of each variant.
        folder: where the figures go.

    Raises:
        UserError: as ``read_measurements`` and ``arrange_samples``; the training curves are missing or lack a column.
    """
    measured = read_measurements(table, levels, claims)
    losses = read_curves(curves)
    drawings: Mapping[str, Callable[[], Drawing]] = {
        "samples": lambda: draw_samples(arrange_samples(measured.final, samples)),
        "fid-gflops": lambda: draw_scaling(measured),
        "bubbles": lambda: draw_bubbles(measured),
        "fid-compute": lambda: draw_compute(measured),
        "fid-steps": lambda: draw_steps(measured),
        "loss": lambda: draw_losses(losses, measured),
        "held-out-loss": lambda: draw_held_out(measured),
        "published": lambda: draw_published(measured),
    }
    with matplotlib.rc_context(dict(RC)):
        for name in FIGURES:
            save_drawing(drawings[name](), folder, name)
