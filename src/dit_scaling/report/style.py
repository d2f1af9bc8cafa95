"""How metrics and variants are named, and which colour and marker a variant has, the same everywhere."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from dit_scaling.metrics.catalogue import INCEPTION, Metric, parse_column
from dit_scaling.variants import UNET, family_of, network_of

HUES = 7
"""Colours c0 to c6 of ``colours.css``; they repeat."""
NO_PATCH = 5
"""The marker of models without patches, a star."""


@dataclass(frozen=True)
class Style:
    """``hue`` is the CSS class of the series' colour (family and size), ``shape`` the number of the patch's marker."""

    hue: str
    shape: int


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
        name: Style(f"c{series.index(member) % HUES}", NO_PATCH if pd.isna(patch) else patches.index(patch) % NO_PATCH)
        for name, member, patch in zip(variants["variant"], variants["series"], variants["patch"], strict=True)
    }


def shorten(names: Iterable[str]) -> dict[str, str]:
    """Names as sentences and figures have them: without the family where there is one only, else `brief_families`."""
    found = list(names)
    brief = brief_families(family_of(name) for name in found)
    if len(brief) == 1 and list(brief) != found:
        return {name: name.split("-", 1)[-1] for name in found}
    return {name: brief[family_of(name)] + name.removeprefix(family_of(name)) for name in found}


def brief_families(families: Iterable[str]) -> dict[str, str]:
    """Families as the report names them: a class of one's own without its module, where that tells all apart."""
    brief = {family: family.rpartition(":")[2] for family in families}
    return brief if len(set(brief.values())) == len(brief) else {family: family for family in brief}


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
