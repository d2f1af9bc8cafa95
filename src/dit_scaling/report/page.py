"""The report: one HTML file that answers whether the claims hold, how sure that is, and what was done otherwise."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from dit_scaling.claims import evaluate_claims
from dit_scaling.config.stages import ReportSettings
from dit_scaling.config.study import Study
from dit_scaling.errors import UserError
from dit_scaling.files import atomic_path, read_json
from dit_scaling.protocol.published import table4
from dit_scaling.protocol.table import compare_protocol, judge_protocol
from dit_scaling.report import tables
from dit_scaling.report.captions import FIGURES, Caption
from dit_scaling.report.measurements import Measurements, read_measurements, read_table
from dit_scaling.report.pictures import embed_mosaic, embed_picture, embed_svg, read_first_samples
from dit_scaling.report.style import order_variants

DATA_FACTS = {
    "images": "images",
    "image_size": "pixels a side",
    "channels": "channels",
    "class_names": "classes",
    "counts.train": "training images",
    "counts.held_out": "held-out images",
}
VAE_FACTS = {
    "source": "source",
    "parameters": "parameters",
    "scaling_factor": "scale of the latents",
    "held_out.mse": "held-out squared error, pixels in [-1, 1]",
    "held_out.psnr": "held-out PSNR (dB)",
}
EXTRACTOR_FACTS = {"kind": "kind", "held_out_accuracy": "accuracy on held-out images"}
VERSION_FACTS = {"git_commit": "git commit", "settings_digest": "settings digest", "python": "Python"}


@dataclass(frozen=True)
class ReportInputs:
    """Everything the report reads."""

    table: Path
    """metrics.parquet of the aggregate stage."""
    claims: Path
    lines: Path
    data: Path
    vae: Path
    reconstructions: Path
    manifest: Path
    extractor: Path
    provenance: Path
    figures: list[Path]
    """SVG files; the name before the suffix finds the caption."""
    samples: list[Path]
    """First part of each variant's samples, in the order of the study's variants."""


@dataclass(frozen=True)
class VerdictView:
    """A claim as the page shows it."""

    number: str
    statement: str
    verdict: str
    reason: str
    comparisons: tables.Table
    exceptions: tables.Table
    correlations: tables.Table


@dataclass(frozen=True)
class FigureView:
    """A figure as the page shows it; ``data`` is its CSV beside the page."""

    name: str
    caption: Caption
    uri: str
    data: str


@dataclass(frozen=True)
class SampleGrid:
    """Samples of all variants from the same noise and labels: a row per patch, a cell per size, None where not run."""

    sizes: list[str]
    rows: list[tuple[int, list[tuple[str, str] | None]]]
    labels: str


def write_report(settings: ReportSettings, inputs: ReportInputs, output: Path) -> None:
    """Write the report as one self-contained HTML file, which needs no network.

    Raises:
        UserError: an input is missing, broken, or not of this study.
    """
    study = settings.study
    measured = read_measurements(inputs.table, inputs.lines)
    records = {
        name: _read_record(getattr(inputs, name)) for name in ("data", "vae", "manifest", "extractor", "provenance")
    }
    claims = _read_record(inputs.claims)
    protocol = compare_protocol(study, records["data"].get("images"))
    facts = {
        "Data": tables.list_facts(records["data"], DATA_FACTS),
        "VAE": tables.list_facts(records["vae"], VAE_FACTS),
        "Latents": tables.list_facts(records["manifest"], {}),
        "Features": tables.list_facts(records["extractor"], EXTRACTOR_FACTS),
    }
    html = (
        _environment()
        .get_template("report.html.j2")
        .render(
            study=study,
            measured=measured,
            summary=_summarise(study, measured),
            claims=claims,
            verdicts=_view_verdicts(claims, inputs.claims),
            published=_view_verdicts(evaluate_claims(table4()).to_dict(), Path("Table 4")),
            protocol=protocol,
            status=judge_protocol(study, protocol),
            grid=_view_samples(study, measured, inputs.samples, records["data"].get("class_names")),
            figures=[_view_figure(path, output) for path in inputs.figures],
            variants=tables.tabulate_variants(measured),
            costs=tables.tabulate_costs(measured, study.training.batch_size),
            lines=tables.tabulate_lines(measured),
            evaluations=tables.tabulate_evaluations(measured, read_table(inputs.table)),
            facts=facts,
            reconstructions=embed_picture(inputs.reconstructions),
            versions=tables.list_facts(
                {k: v for k, v in records["provenance"].items() if k != "settings"}, VERSION_FACTS
            ),
            settings=json.dumps(study.model_dump(mode="json"), indent=2),
            commands=tables.tabulate_commands(study),
        )
    )
    with atomic_path(output) as temporary:
        temporary.write_text(html, encoding="utf-8")


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("dit_scaling.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _read_record(path: Path) -> dict[str, Any]:
    record = read_json(path)
    if not isinstance(record, dict):
        raise UserError(f"{path} holds no JSON object. Delete it and rerun the stage that makes it.")
    return record


def _summarise(study: Study, measured: Measurements) -> str:
    """What was done, in one line."""
    final, seeds = measured.final, len(study.training.seeds)
    runs = "one run each" if seeds == 1 else f"{seeds} seeds each"
    return (
        f"{len(final)} variants ({final['size'].nunique()} sizes, {final['patch'].nunique()} patches), {runs}, "
        f"{final['step'].iloc[0]:,} training steps, {study.sampling.num_samples:,} samples a model, "
        f"guidance {measured.guidance_scale:g}"
    )


def _view_verdicts(claims: Mapping[str, Any], where: Path) -> list[VerdictView]:
    """The claims by number; that which cannot be tested comes last."""
    try:
        views = [
            VerdictView(
                number=str(claim["claim"]),
                statement=claim["statement"],
                verdict=claim["verdict"],
                reason=claim["reason"],
                comparisons=tables.tabulate_comparisons(claim),
                exceptions=tables.tabulate_exceptions(claim),
                correlations=tables.tabulate_correlations(claim),
            )
            for claim in claims["claims"]
        ]
    except (KeyError, TypeError) as error:
        raise UserError(f"{where} is no report on claims ({error}). Run: snakemake --forcerun aggregate.") from None
    return sorted(views, key=lambda view: (view.verdict == "not testable", view.number))


def _view_samples(
    study: Study, measured: Measurements, parts: Sequence[Path], class_names: Sequence[str] | None
) -> SampleGrid:
    """Sizes across, patches down, as the paper's figure 7."""
    if len(parts) != len(study.variants):
        raise UserError(f"The report needs one part of samples per variant: {len(parts)} for {len(study.variants)}.")
    first = read_first_samples(dict(zip(study.variants, parts, strict=True)))
    variants = order_variants(measured.final)
    sizes = [str(size) for size in variants["size"].unique()]
    names = {(str(row["size"]), int(row["patch"])): str(row["variant"]) for _, row in variants.iterrows()}
    mosaics = {name: embed_mosaic(samples.images) for name, samples in first.items()}
    labels = next(iter(first.values())).labels
    return SampleGrid(
        sizes=sizes,
        rows=[
            (patch, [(name, mosaics[name]) if (name := names.get((size, patch), "")) else None for size in sizes])
            for patch in sorted({patch for _, patch in names}, reverse=True)
        ],
        labels=", ".join(class_names[label] if class_names else str(label) for label in labels),
    )


def _view_figure(path: Path, output: Path) -> FigureView:
    caption = FIGURES.get(path.stem, Caption(path.stem, ""))
    data = path.with_suffix(".csv").resolve()
    beside = data.relative_to(output.parent.resolve()) if data.is_relative_to(output.parent.resolve()) else data.name
    return FigureView(path.stem, caption, embed_svg(path), str(beside))
