"""The report: one HTML file that answers whether the claims hold, how sure that is, and what was done otherwise."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from dit_scaling.claims import evaluate_claims
from dit_scaling.common.errors import UserError
from dit_scaling.common.files import atomic_path, read_json
from dit_scaling.config.stages import ReportSettings
from dit_scaling.config.study import Study
from dit_scaling.paper.deviations import ProtocolRow, compare_protocol, hindrances, judge_protocol
from dit_scaling.paper.published import table4
from dit_scaling.report import cost_tables, study_tables, verdict_tables
from dit_scaling.report.agreement_table import tabulate_agreement
from dit_scaling.report.captions import FIGURES, TABLES, Caption
from dit_scaling.report.classes import view_classes
from dit_scaling.report.data_uris import embed_images, embed_picture, embed_svg
from dit_scaling.report.grid import SampleGrid, arrange_samples
from dit_scaling.report.health_tables import tabulate_checks, tabulate_gates, view_gates, view_preflight
from dit_scaling.report.measurements import Measurements, read_measurements, read_table
from dit_scaling.report.memorisation_table import view_memorisation
from dit_scaling.report.table import Column, Table, list_facts, save_table, words
from dit_scaling.results.job_records import JobRecord
from dit_scaling.variants import UNET

FAMILIES = "0"  # the claim that compares with U-Nets
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
    agreement: Path
    levels: Path
    data: Path
    vae: Path
    reconstructions: Path
    manifest: Path | None
    """Manifest of the latents; None where nothing is trained."""
    preflight: Path | None
    """Record of the checks before training; None where nothing is trained."""
    gates: list[Path]
    """Records of the gates during training; none where they are off."""
    extractor: Path
    provenance: Path
    times: Path
    """Folder with records of the jobs' wall time; see ``tabulate_stages``."""
    figures: list[Path]
    """SVG files; the name before the suffix finds the caption."""
    samples: list[Path]
    """First part of each variant's samples, in the order of the study's variants."""
    memorisation: list[Path]
    """memorisation.json of each variant, in that order; its picture lies beside it."""


@dataclass(frozen=True)
class FigureView:
    """A figure as the page shows it; ``data`` is its CSV beside the page."""

    name: str
    caption: Caption
    uri: str
    data: str


@dataclass(frozen=True)
class SamplesView:
    """The grid of samples: labels shown, heads of the columns, and rows of (variant, picture) or None."""

    labels: str
    columns: tuple[str, ...]
    rows: list[tuple[str, list[tuple[str, str] | None]]]


def write_report(
    settings: ReportSettings, inputs: ReportInputs, output: Path, failures: Sequence[JobRecord] = ()
) -> None:
    """Write the report as one self-contained HTML file, which needs no network, and its tables as CSV.

    The tables of ``captions.TABLES`` go to the folder ``tables`` beside ``output``. Jobs that failed come first.

    Raises:
        UserError: an input is missing, broken, or not of this study.
    """
    study = settings.study
    measured = read_measurements(inputs.table, inputs.levels, inputs.claims)
    records = {
        name: _read_record(path)
        for name in ("data", "vae", "manifest", "extractor", "provenance")
        if (path := getattr(inputs, name))
    }
    claims = _read_claims(inputs.claims)
    protocol = compare_protocol(study, records["data"].get("images"))
    memorisation = view_memorisation(
        dict(zip(study.variants, inputs.memorisation, strict=True)), records["data"].get("images")
    )
    preflight = view_preflight(inputs.preflight) if inputs.preflight else None
    gates = view_gates(inputs.gates, output)
    tables = _make_tables(study, measured, claims, protocol, inputs, records) | {
        "memorisation": memorisation.table,
        "preflight": tabulate_checks(preflight.checks if preflight else ()),
        "gates": tabulate_gates(gates.gates),
    }
    assert tables.keys() == TABLES.keys()
    html = (
        page_environment()
        .get_template("report.html.j2")
        .render(
            study=study,
            settings_digest=settings.digest,
            failures=failures,
            consequence="What follows is of the variants that are whole; run the same command again for the others.",
            measured=measured,
            summary=_summarise(study, measured),
            claims=claims,
            verdicts=[claim for claim in _order_verdicts(claims) if claim["claim"] != FAMILIES or _has_unets(study)],
            published=_order_verdicts(evaluate_claims(table4()).to_dict()),
            status=judge_protocol(study, protocol),
            hindered=hindrances(study, protocol),
            memorisation=memorisation,
            preflight=preflight,
            gates=gates,
            classes=view_classes(measured, inputs.levels, study.data.classes),
            grid=_view_samples(study, measured, inputs.samples, records["data"].get("class_names")),
            figures=[_view_figure(path, output) for path in inputs.figures if path.stem != "samples"],
            tables=tables,
            reconstructions=embed_picture(inputs.reconstructions),
            settings=json.dumps(study.model_dump(mode="json"), indent=2),
        )
    )
    for table in tables.values():
        save_table(table, output.parent / "tables")
    with atomic_path(output) as temporary:
        temporary.write_text(html, encoding="utf-8")


def _make_tables(
    study: Study,
    measured: Measurements,
    claims: Mapping[str, Any],
    protocol: Sequence[ProtocolRow],
    inputs: ReportInputs,
    records: Mapping[str, Any],
) -> dict[str, Table]:
    """The tables of ``captions.TABLES`` by name, but for those of the memorisation, preflight and gates."""
    published = evaluate_claims(table4()).to_dict()
    versions = {key: value for key, value in records["provenance"].items() if key != "settings"}
    made = [
        study_tables.tabulate_variants(measured, beside_paper=not hindrances(study, protocol)),
        study_tables.tabulate_levels(measured),
        study_tables.tabulate_evaluations(measured, read_table(inputs.table)),
        study_tables.tabulate_fits(measured),
        study_tables.tabulate_budget(measured),
        tabulate_agreement(inputs.agreement),
        verdict_tables.tabulate_pairs("pairs", claims),
        verdict_tables.tabulate_correlations("correlations", claims),
        verdict_tables.tabulate_exceptions("exceptions", claims),
        verdict_tables.compare_verdicts("table4-claims", claims, published),
        verdict_tables.tabulate_pairs("table4-pairs", published),
        verdict_tables.tabulate_correlations("table4-correlations", published),
        verdict_tables.tabulate_exceptions("table4-exceptions", published),
        verdict_tables.tabulate_spread("spread"),
        verdict_tables.tabulate_reproductions("reproductions"),
        _tabulate_protocol(protocol),
        list_facts("data", records["data"], DATA_FACTS),
        list_facts("vae", records["vae"], VAE_FACTS),
        list_facts("latents", records.get("manifest", {}), {}),
        list_facts("features", records["extractor"] | {"reference": measured.reference}, EXTRACTOR_FACTS),
        cost_tables.tabulate_costs(measured, study),
        cost_tables.tabulate_stages(inputs.times),
        cost_tables.tabulate_commands(study),
        list_facts("versions", versions, VERSION_FACTS),
    ]
    return {table.name: table for table in made}


def _tabulate_protocol(protocol: Sequence[ProtocolRow]) -> Table:
    def judge(row: Mapping[str, Any]) -> str:
        if not row["known"]:
            return "not known"
        return "same" if row["same"] else f"deviation: {row['reason'] or 'no reason given'}"

    shown = (
        words("setting"),
        words("here", "ours"),
        words("paper"),
        Column("same, or why not", judge, words=True),
        Column("what that means", lambda row: row["meaning"], words=True),
    )
    return Table("protocol", pd.DataFrame(protocol), shown)


def page_environment() -> jinja2.Environment:
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
        f"{len(final)} variants ({final['series'].nunique()} sizes, {final['patch'].nunique()} patches), {runs}, "
        f"{final['step'].iloc[0]:,} training steps, {study.sampling.num_samples:,} samples a model, "
        f"guidance {measured.guidance_scale:g}"
    )


def _read_claims(path: Path) -> dict[str, Any]:
    """A report on claims, as far as the page needs it."""
    claims = _read_record(path)
    found = claims.get("claims")
    needed = {"claim", "statement", "verdict", "words", "qualification", "would_be", "condition", "reason"}
    if not isinstance(found, list) or not all(isinstance(claim, dict) and needed <= claim.keys() for claim in found):
        raise UserError(f"{path} is no report on claims. Run: snakemake --forcerun aggregate.")
    return claims


def _has_unets(study: Study) -> bool:
    return any(study.variant(name).family == UNET for name in study.variants)


def _order_verdicts(claims: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The claims by number; that which cannot be tested comes last."""
    return sorted(claims["claims"], key=lambda claim: (claim["verdict"] == "not testable", claim["claim"]))


def _view_samples(
    study: Study, measured: Measurements, parts: Sequence[Path], class_names: Sequence[str] | None
) -> SamplesView:
    if len(parts) != len(study.variants):
        raise UserError(f"The report needs one part of samples per variant: {len(parts)} for {len(study.variants)}.")
    grid: SampleGrid = arrange_samples(measured.final, dict(zip(study.variants, parts, strict=True)))
    pictures = {name: embed_images(samples.images) for name, samples in grid.samples.items()}
    return SamplesView(
        labels=", ".join(class_names[label] if class_names else str(label) for label in grid.labels),
        columns=grid.columns,
        rows=[(label, [(name, pictures[name]) if name else None for name in names]) for label, names in grid.rows],
    )


def _view_figure(path: Path, output: Path) -> FigureView:
    uri, data = embed_svg(path), path.with_suffix(".csv").resolve()
    beside = data.relative_to(output.parent.resolve()) if data.is_relative_to(output.parent.resolve()) else data.name
    return FigureView(path.stem, FIGURES[path.stem], uri, str(beside))
