"""The grid of samples of all variants from the same noise and labels, as the paper's figure 7."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dit_scaling.charts.sheet import standalone, title_lines
from dit_scaling.charts.svg import element, text_width
from dit_scaling.common.errors import UserError
from dit_scaling.report.data_uris import SAMPLES_SHOWN, encode_picture, join_images
from dit_scaling.report.style import brief_families, order_variants
from dit_scaling.sampling.images import Samples, read_samples
from dit_scaling.variants import UNET, family_of, network_of

FEW_SAMPLES = 4  # of each variant on the first screen
HEAD, GAP, CELL, WIDEST = 80.0, 10.0, 280.0, 800.0  # pixels of the grid as a file


@dataclass(frozen=True)
class SampleGrid:
    """A column per size, a row per family and patch with its label and its variants, None where not run.

    ``samples`` are the first ones of each variant.
    """

    columns: tuple[str, ...]
    """Series (``DiT-XL``) where all rows are of one family, else sizes."""
    rows: tuple[tuple[str, tuple[str | None, ...]], ...]
    samples: Mapping[str, Samples]

    @property
    def labels(self) -> list[int]:
        """Class of each sample shown, the same for all variants."""
        return [int(label) for label in next(iter(self.samples.values())).labels]


def arrange_samples(points: pd.DataFrame, parts: Mapping[str, Path]) -> SampleGrid:
    """Sizes across, families and patches down.

    Args:
        points: ``Measurements.final``.
        parts: the first part of the samples of each variant.

    Raises:
        UserError: a part is missing or torn, or the variants' indices or labels differ.
    """
    variants = order_variants(points)
    family = variants["variant"].map(family_of)
    brief = brief_families(family)
    by = "size" if len(brief) > 1 else "series"
    columns = tuple(variants[by].unique())
    placed = variants.assign(family=family, unet=family.map(network_of) == UNET)
    placed = placed.sort_values(["unet", "family", "patch"], ascending=[True, True, False])
    rows = []
    for _, members in placed.groupby(["family", "patch"], sort=False, dropna=False):
        names = dict(zip(members[by], members["variant"], strict=True))
        first = members.iloc[0]
        patch = "" if pd.isna(first["patch"]) else f"patch {first['patch']}"
        label = f"{brief[first['family']]} {patch}".strip() if len(brief) > 1 else patch or "no patches"
        rows.append((label, tuple(names.get(column) for column in columns)))
    return SampleGrid(columns, tuple(rows), _read_first(parts))


def draw_samples(grid: SampleGrid) -> str:
    """The grid as an SVG file, as the paper's figure 7."""
    sheets = {name: join_images(samples.images) for name, samples in grid.samples.items()}
    first = next(iter(sheets.values()))
    width = min(CELL, WIDEST / len(grid.columns))
    height = width * first.height / first.width
    head = max(HEAD, *(text_width(label) + 2 * GAP for label, _ in grid.rows))
    body, top = title_lines("Samples from the same noise and labels: sizes across, patches down", "", WIDEST)
    for place, series in enumerate(grid.columns):
        x = head + place * (width + GAP) + width / 2
        body.append(element("text", series, class_="ttl", x=x, y=top, text_anchor="middle"))
    for label, names in grid.rows:
        top += GAP
        body.append(element("text", label, class_="ax", x=GAP, y=top + height / 2))
        for place, name in enumerate(names):
            if name is not None:
                where = {"x": head + place * (width + GAP), "y": top, "width": width, "height": height}
                told = element("title", f"Samples of {name}")
                body.append(element("image", told, href=encode_picture(sheets[name]), **where))
        top += height
    whole = head + len(grid.columns) * (width + GAP)
    return standalone(body, max(whole, WIDEST), top + GAP, "Samples of every variant")


def tabulate_samples(grid: SampleGrid) -> pd.DataFrame:
    """Which samples are shown: variant, index, label."""
    data = [
        pd.DataFrame({"variant": name, "index": samples.indices, "label": samples.labels})
        for name, samples in grid.samples.items()
    ]
    return pd.concat(data, ignore_index=True)


def _read_first(parts: Mapping[str, Path]) -> dict[str, Samples]:
    """The first ``SAMPLES_SHOWN`` samples of each variant, checked to be of the same noise and labels."""
    first = {}
    for variant, path in parts.items():
        samples, shown = read_samples(path), slice(SAMPLES_SHOWN)
        first[variant] = Samples(samples.images[shown], samples.labels[shown], samples.indices[shown])
    reference = next(iter(first.values()))
    for variant, samples in first.items():
        same = np.array_equal(samples.indices, reference.indices) and np.array_equal(samples.labels, reference.labels)
        if not same:
            raise UserError(
                f"{parts[variant]} has other indices or labels than {parts[next(iter(first))]}: they do not share "
                "noise. Run: snakemake --forcerun sample."
            )
    return first
