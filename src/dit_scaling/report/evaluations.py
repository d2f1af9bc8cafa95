"""Distance against evaluations of the network: what a sampler reaches for what it costs."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from dit_scaling.common.errors import UserError
from dit_scaling.diffusion.samplers import SAMPLERS

NEEDED = ("variant", "seed", "step", "sampler", "sampling_steps", "guidance_scale")


@dataclass(frozen=True)
class SamplerPoint:
    """One variant by one sampler in one number of steps."""

    variant: str
    sampler: str
    steps: int
    evaluations: int
    """Of the network for one image: guidance at another scale than 1 doubles them."""
    distance: float
    """Mean over seeds."""
    runs: int


def points_by_evaluations(tables: Sequence[pd.DataFrame], metric: str) -> list[SamplerPoint]:
    """The points of the tables of metrics of one study, each made with a sampler or a number of steps of its own.

    Each variant is taken at the last step that all its rows have, at the first guidance scale of each table. Points are
    ordered by variant, sampler and evaluations.

    Args:
        tables: columns of metrics.csv: variant, seed, step, sampler, sampling_steps, guidance_scale, and ``metric``.
        metric: the distance's column.

    Raises:
        UserError: a column is missing, a sampler is unknown, or tables repeat each other's rows.
    """
    missing = sorted({name for table in tables for name in (*NEEDED, metric) if name not in table.columns})
    if missing:
        raise UserError(f"No distance against evaluations without column {', '.join(missing)}. Give tables of metrics.")
    rows = pd.concat([table[table["guidance_scale"] == table["guidance_scale"].iloc[0]] for table in tables])
    unknown = sorted(set(rows["sampler"]) - SAMPLERS.keys())
    if unknown:
        raise UserError(f"Sampler {', '.join(unknown)} is unknown; there are {', '.join(SAMPLERS)}.")
    if rows.duplicated(list(NEEDED)).any():
        raise UserError("Two tables hold the same run by the same sampler in the same steps. Leave one out.")
    rows = rows[rows["step"] == rows.groupby("variant")["step"].transform("max")]
    found = []
    for (variant, sampler, steps, scale), group in rows.groupby(
        ["variant", "sampler", "sampling_steps", "guidance_scale"], sort=True
    ):
        evaluations = SAMPLERS[str(sampler)].evaluations(int(steps)) * (1 if scale == 1.0 else 2)
        mean = float(group[metric].mean())
        found.append(SamplerPoint(str(variant), str(sampler), int(steps), evaluations, mean, len(group)))
    return sorted(found, key=lambda point: (point.variant, point.sampler, point.evaluations))


def draw_evaluations(points: Sequence[SamplerPoint], label: str) -> Figure:
    """A panel per variant, a line per sampler; both axes are logarithmic.

    Args:
        points: as `points_by_evaluations` gives them, at least one.
        label: of the distance.
    """
    variants = list(dict.fromkeys(point.variant for point in points))
    samplers = list(dict.fromkeys(point.sampler for point in points))
    figure = Figure(figsize=(3.4 * len(variants), 3.2), layout="constrained")
    panels = figure.subplots(1, len(variants), sharey=True, squeeze=False)[0]
    for axes, variant in zip(panels, variants, strict=True):
        for number, sampler in enumerate(samplers):
            line = [point for point in points if (point.variant, point.sampler) == (variant, sampler)]
            axes.plot(
                [point.evaluations for point in line],
                [point.distance for point in line],
                "o-",
                color=f"C{number % 10}",
                label=sampler,
            )
        axes.set(title=variant, xlabel="network evaluations per image", xscale="log", yscale="log")
    panels[0].set_ylabel(label)
    panels[-1].legend(fontsize="small")
    return figure
