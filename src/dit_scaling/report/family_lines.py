"""Distance against compute, a line per family: what the claims between families are about."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dit_scaling.claims.fits import PowerLawFit, fit_power_law
from dit_scaling.variants import family_of

Compute = Literal["gflops", "train_gflops"]
LABELS = {"gflops": "Gflops of a forward pass", "train_gflops": "training compute in Gflops"}
MARKERS = "os^Dv"
FEWEST = 3  # variants that a line is fitted through


@dataclass(frozen=True)
class FamilyLine:
    """One family's variants, by compute, and the power law through three or more of them."""

    family: str
    points: pd.DataFrame
    """Columns x, value, low and high, x ascending."""
    fit: PowerLawFit | None


def family_lines(points: pd.DataFrame, x: Compute) -> list[FamilyLine]:
    """The families of the variants, in the order of ``points``.

    Args:
        points: one row per variant, as in `report.measurements`: variant, value, low, high, gflops and train_gflops.
        x: which compute.
    """
    lines = []
    for family, rows in points.groupby(points["variant"].map(family_of), sort=False):
        own = rows.sort_values(x)[[x, "value", "low", "high"]].rename(columns={x: "x"}).reset_index(drop=True)
        enough = len(own) >= FEWEST and own["x"].nunique() > 1
        lines.append(FamilyLine(str(family), own, fit_power_law(own["x"], own["value"]) if enough else None))
    return lines


def draw_families(lines: list[FamilyLine], x: Compute, label: str) -> Figure:
    """Points with their intervals and a line per family; both axes are logarithmic.

    Args:
        lines: as `family_lines` gives them.
        x: which compute they are of.
        label: of the distance.
    """
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for number, line in enumerate(lines):
        colour, own = f"C{number % 10}", line.points
        reach = np.abs(own[["low", "high"]].to_numpy().T - own["value"].to_numpy())
        marker = MARKERS[number % len(MARKERS)]
        axes.errorbar(own["x"], own["value"], yerr=reach, fmt=marker, color=colour, label=line.family, capsize=2)
        if line.fit is not None:
            ends = np.array([own["x"].min(), own["x"].max()])
            axes.plot(ends, line.fit.predict(ends)["y"], color=colour)
    axes.set(xlabel=LABELS[x], ylabel=label, xscale="log", yscale="log")
    axes.legend()
    return figure
