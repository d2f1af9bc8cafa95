"""How metrics are named and variants are coloured, the same in every figure and table."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dit_scaling.metrics.catalogue import INCEPTION, Metric, parse_column
from dit_scaling.variants import UNET, family_of, network_of

Dash = tuple[float, tuple[float, ...]]

# Okabe and Ito's palette, which the colour-blind can tell apart; its yellow is too faint on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES: tuple[Dash, ...] = ((0, ()), (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))
GREY = "#6b7280"
PALE = "#b0b7c3"

RC: Mapping[Any, Any] = {
    "svg.hashsalt": "dit-scaling",  # ids in the SVG are random without it
    "svg.fonttype": "none",  # text stays text: searchable, small
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.2,
}


@dataclass(frozen=True)
class Style:
    """Colour by series (family and size), marker and dash by patch; a star for models without patches."""

    colour: str
    marker: str
    dash: Dash


def order_variants(points: pd.DataFrame) -> pd.DataFrame:
    """One row per variant, series by parameters ascending, within a series by patch descending: Gflops ascend.

    A series is a family and a size; its place is that of its largest variant, as parameters differ a little between
    patches. U-Nets come last.
    """
    variants = points.drop_duplicates("variant")
    place = variants.groupby("series")["params_m"].transform("max")
    ordered = variants.assign(unet=variants["variant"].map(family_of).map(network_of) == UNET, place=place)
    ordered = ordered.sort_values(["unet", "place", "series", "patch"], ascending=[True, True, True, False])
    return ordered.drop(columns=["unet", "place"])


def style_variants(points: pd.DataFrame) -> dict[str, Style]:
    """Style by variant name, in the order of ``order_variants``."""
    variants = order_variants(points)
    series = list(variants["series"].unique())
    patches = sorted(variants["patch"].dropna().unique())
    return {
        name: Style(
            PALETTE[series.index(member) % len(PALETTE)],
            "*" if pd.isna(patch) else MARKERS[patches.index(patch) % len(MARKERS)],
            DASHES[0 if pd.isna(patch) else patches.index(patch) % len(DASHES)],
        )
        for name, member, patch in zip(variants["variant"], variants["series"], variants["patch"], strict=True)
    }


def describe_features(name: str) -> str:
    """Features for people: ``classifier64`` is "classifier features (64-d)"."""
    if name == "dinov2":
        return "DINOv2 features"
    match = re.fullmatch(r"(.*?[a-z])(\d+)", name)
    return f"{match[1]} features ({match[2]}-d)" if match else f"{name} features"


def describe_metric(metric: str, samples: int | None) -> str:
    """A metric for people, named by its features; only Inception's make it a FID.

    Args:
        metric: its column.
        samples: number of generated images behind it, where known.
    """
    column = parse_column(metric)
    if column is None:
        return metric
    label = column.metric.label_on(column.features)
    if label == "FID" and samples is not None:
        return f"FID-{samples // 1000}K" if samples % 1000 == 0 else f"FID ({samples:,} samples)"
    return label if column.features in column.metric.names else f"{label} on {describe_features(column.features)}"


def head_column(metric: Metric, features: str) -> str:
    """The head of a metric's column, in a table of one kind of features."""
    said = features == INCEPTION or features in metric.names or not metric.of_inception
    return metric.label_on(features) if said else f"{metric.label}, {describe_features(features)}"
