"""What the page shows beside tables and sentences: figures, samples, keys, buttons and addresses of files."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dit_scaling.common.errors import UserError
from dit_scaling.common.words import count
from dit_scaling.config.study import Study
from dit_scaling.report.captions import FIGURES, Caption
from dit_scaling.report.data_uris import embed_images
from dit_scaling.report.drawings import DRAWINGS
from dit_scaling.report.figures.material import Drawn, Material
from dit_scaling.report.grid import FEW_SAMPLES, SampleGrid, arrange_samples
from dit_scaling.report.inputs import ReportInputs
from dit_scaling.report.measurements import Measurements
from dit_scaling.report.style import order_variants, style_variants


@dataclass(frozen=True)
class FigureView:
    """A figure as the page shows it, with the addresses of its files."""

    caption: Caption
    drawn: Drawn
    svg: str
    csv: str


@dataclass(frozen=True)
class SamplesView:
    """The grid of samples: labels, and per row its head and (variant, all samples, a few of them) or None."""

    labels: str
    columns: tuple[tuple[str, str], ...]
    """Names of series with the CSS class of their colour; or sizes, which have none."""
    rows: list[tuple[str, list[tuple[str, str, str] | None]]]


def view_samples(
    study: Study,
    measured: Measurements,
    parts: Sequence[Path],
    class_names: Sequence[str] | None,
    names: Mapping[str, str],
) -> SamplesView:
    """The grid of samples of the last common step.

    Raises:
        UserError: there is not one part a variant, or as ``arrange_samples``.
    """
    if len(parts) != len(study.variants):
        raise UserError(f"The report needs one part of samples per variant: {len(parts)} for {len(study.variants)}.")
    grid: SampleGrid = arrange_samples(measured.final, dict(zip(study.variants, parts, strict=True)))
    final, styles = measured.final, style_variants(measured.final)
    hues = {str(s): styles[str(v)].hue for s, v in zip(final["series"], final["variant"], strict=True)}
    pictures = {
        name: (embed_images(samples.images), embed_images(samples.images[:FEW_SAMPLES], columns=2))
        for name, samples in grid.samples.items()
    }
    return SamplesView(
        labels=", ".join(class_names[label] if class_names else str(label) for label in grid.labels),
        columns=tuple((names.get(column, column), hues.get(column, "")) for column in grid.columns),
        rows=[
            (label, [(names[name], *pictures[name]) if name else None for name in members])
            for label, members in grid.rows
        ],
    )


def view_figure(name: str, material: Material, folder: Path, output: Path) -> FigureView:
    """A figure, and its files in ``folder`` seen from the page ``output``."""
    address = os.path.relpath(folder / name, output.parent)
    return FigureView(FIGURES[name], DRAWINGS[name](material), f"{address}.svg", f"{address}.csv")


def describe_best(measured: Measurements, names: Mapping[str, str]) -> str:
    """Which variant has the lowest distance, and whether the next one is beyond its interval."""
    final = measured.final.sort_values("value")
    best = names[str(final["variant"].iloc[0])]
    if len(final) == 1:
        return f"{best} is the only variant"
    within = [names[str(name)] for name in final["variant"][1:][final["low"][1:] < final["high"].iloc[0]]]
    shown = f"; the interval of {within[0]} overlaps" if len(within) == 1 else ""
    shown = f"; the intervals of {count(len(within), 'other variant')} overlap" if len(within) > 1 else shown
    return f"{best} has the lowest distance{shown}"


def list_shapes(material: Material) -> list[tuple[int, str]]:
    """The key of the markers: one a patch."""
    final = material.measured.final.sort_values("patch", ascending=False, na_position="last")
    key = {
        material.styles[str(name)].shape: "no patches" if pd.isna(patch) else f"patch {patch}"
        for name, patch in zip(final["variant"], final["patch"], strict=True)
    }
    return list(key.items())


def list_toggles(material: Material) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """The buttons that show and hide variants: (series, its variants with the button's text and colour)."""
    found = []
    for series, members in order_variants(material.measured.final).groupby("series", sort=False):
        patches = zip(members["variant"], members["patch"], strict=True)
        buttons = [(name, "all" if pd.isna(p) else f"/{p}", material.styles[name].hue) for name, p in patches]
        found.append((material.short[str(series)], buttons))
    return found


def addresses(inputs: ReportInputs, output: Path) -> dict[str, str]:
    """Files that the page links, seen from it."""
    files = {
        "metrics": inputs.table.with_suffix(".csv"),
        "parquet": inputs.table,
        "sampling_steps": inputs.sampling_steps,
        "claims": inputs.claims,
        "claims_table": inputs.claims.with_suffix(".csv"),
        "levels": inputs.levels,
        "data": inputs.data,
        "vae": inputs.vae,
        "reconstructions": inputs.reconstructions,
        "manifest": inputs.manifest,
        "preflight": inputs.preflight,
        "extractor": inputs.extractor,
        "provenance": inputs.provenance,
        "samples": inputs.figures / "samples.svg",
    }
    return {name: os.path.relpath(path, output.parent) for name, path in files.items() if path is not None}
