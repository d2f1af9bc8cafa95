"""The grid of samples of all variants from the same noise and labels, as the paper's figure 7."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dit_scaling.common.errors import UserError
from dit_scaling.report.canvas import Drawing
from dit_scaling.report.data_uris import SAMPLES_SHOWN, join_images
from dit_scaling.report.style import order_variants
from dit_scaling.sampling.images import Samples, read_samples


@dataclass(frozen=True)
class SampleGrid:
    """A column per series (``DiT-XL``), a row per patch with its label and its variants, None where not run.

    Models without patches share a last row. ``samples`` are the first ones of each variant.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str | None, ...]], ...]
    samples: Mapping[str, Samples]

    @property
    def labels(self) -> list[int]:
        """Class of each sample shown, the same for all variants."""
        return [int(label) for label in next(iter(self.samples.values())).labels]


def arrange_samples(points: pd.DataFrame, parts: Mapping[str, Path]) -> SampleGrid:
    """Sizes across, patches down.

    Args:
        points: ``Measurements.final``.
        parts: the first part of the samples of each variant.

    Raises:
        UserError: a part is missing or torn, or the variants' indices or labels differ.
    """
    variants = order_variants(points)
    columns = tuple(variants["series"].unique())
    patches = [
        *sorted(variants["patch"].dropna().unique(), reverse=True),
        *([None] if variants["patch"].isna().any() else []),
    ]
    names = {
        (series, None if pd.isna(patch) else patch): name
        for series, patch, name in zip(variants["series"], variants["patch"], variants["variant"], strict=True)
    }
    rows = tuple(
        ("no patches" if patch is None else f"patch {patch}", tuple(names.get((series, patch)) for series in columns))
        for patch in patches
    )
    return SampleGrid(columns, rows, _read_first(parts))


def draw_samples(grid: SampleGrid) -> Drawing:
    """Figure 7."""
    mosaics = {name: np.asarray(join_images(samples.images)) for name, samples in grid.samples.items()}
    height, width = next(iter(mosaics.values())).shape[:2]
    cell = min(3.0, 8 / len(grid.columns))
    size = (0.7 + cell * len(grid.columns), 0.4 + (cell * height / width + 0.1) * len(grid.rows))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(grid.rows), len(grid.columns), squeeze=False)
    for row, (label, names) in zip(panels, grid.rows, strict=True):
        for axes, name in zip(row, names, strict=True):
            axes.set(xticks=[], yticks=[], frame_on=False)
            axes.grid(visible=False)
            if name is not None:
                axes.imshow(mosaics[name], cmap="gray", vmin=0, vmax=255, interpolation="none")
        row[0].set_ylabel(label)
    for axes, series in zip(panels[0], grid.columns, strict=True):
        axes.set_title(series, loc="center")
    data = [
        pd.DataFrame({"variant": name, "index": samples.indices, "label": samples.labels})
        for name, samples in grid.samples.items()
    ]
    return Drawing(figure, pd.concat(data, ignore_index=True))


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
