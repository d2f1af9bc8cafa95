"""The report: one HTML file that answers whether the claims hold, how sure that is, and what was done otherwise."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dit_scaling.charts.markers import key_marker
from dit_scaling.claims import ClaimsReport, evaluate_claims
from dit_scaling.common.errors import UserError
from dit_scaling.common.files import atomic_path, read_json
from dit_scaling.config.stages import ReportSettings
from dit_scaling.config.study import Study
from dit_scaling.latents.manifest import origin_in
from dit_scaling.paper.deviations import ProtocolRow, compare_protocol, hindrances, judge_protocol
from dit_scaling.paper.published import table4
from dit_scaling.report import cost_tables, study_facts, study_tables, verdict_tables
from dit_scaling.report.added_samplings import read_samplings
from dit_scaling.report.agreement_table import describe_agreement, tabulate_agreement
from dit_scaling.report.captions import MAIN, SECTIONS, TABLES
from dit_scaling.report.claims_file import read_claims
from dit_scaling.report.classes import view_classes
from dit_scaling.report.data_uris import embed_picture
from dit_scaling.report.drawings import DRAWINGS
from dit_scaling.report.figures.material import Material, read_curves
from dit_scaling.report.first_screen import (
    claim_rows,
    describe_differences,
    describe_run,
    judge_health,
    judged_claims,
)
from dit_scaling.report.health_tables import tabulate_checks, tabulate_gates, view_gates, view_preflight
from dit_scaling.report.held_out_table import tabulate_held_out
from dit_scaling.report.inputs import ReportInputs
from dit_scaling.report.measurements import Measurements, read_measurements, read_table
from dit_scaling.report.memorisation_table import view_memorisation
from dit_scaling.report.outcome import conclude, describe_assumption, say_condition, say_exclusions, say_untested
from dit_scaling.report.render import render
from dit_scaling.report.sentences import ABSENT
from dit_scaling.report.style import shorten
from dit_scaling.report.table import Table, list_facts, save_table
from dit_scaling.report.views import (
    addresses,
    describe_best,
    list_shapes,
    list_toggles,
    view_figure,
    view_samples,
)
from dit_scaling.results.job_records import JobRecord


def write_report(
    settings: ReportSettings,
    inputs: ReportInputs,
    output: Path,
    failures: Sequence[JobRecord] = (),
    material: Material | None = None,
) -> None:
    """Write the report as one self-contained HTML file, which needs no network, and its tables as CSV.

    The tables of ``captions.TABLES`` go to the folder ``tables`` beside ``output``. Jobs that failed come first.

    Args:
        settings: of the stage.
        inputs: what the stages before made.
        output: the page.
        failures: jobs that failed.
        material: what the figures are drawn from, where that is more than the inputs: points of others, or the same
            runs sampled in other ways.

    Raises:
        UserError: an input is missing, broken, or not of this study.
    """
    study = settings.study
    measured = read_measurements(inputs.table, inputs.levels, inputs.claims)
    table = read_table(inputs.table)
    records = {
        name: _read_record(path)
        for name in ("data", "vae", "manifest", "extractor", "provenance")
        if (path := getattr(inputs, name))
    }
    report, published = read_claims(inputs.claims), evaluate_claims(table4())
    protocol = compare_protocol(study, records["data"].get("images"), origin_in(records.get("manifest", {})))
    preflight = view_preflight(inputs.preflight) if inputs.preflight else None
    names = shorten([*study.variants, *(str(name) for name in measured.final["series"].unique())])
    gates = view_gates(inputs.gates, output, names)
    searched = dict(zip(study.variants, inputs.memorisation, strict=True))
    memorisation = view_memorisation(searched, records["data"].get("images"), names)
    claims = judged_claims(report, study)
    rows = claim_rows(claims, names)
    agreement = tabulate_agreement(inputs.agreement)
    classes = view_classes(measured, inputs.levels, study.data.classes, names)
    status = judge_protocol(study, protocol)
    tables = _make_tables(study, measured, report, published, protocol, inputs, records) | {
        "verdicts": verdict_tables.tabulate_sentences(rows, claims),
        "evaluations": study_tables.tabulate_evaluations(measured, table),
        "agreement": agreement,
        "memorisation": memorisation.table,
        "preflight": tabulate_checks(preflight.checks if preflight else ()),
        "gates": tabulate_gates(gates.gates),
    }
    assert tables.keys() == TABLES.keys()
    if material is None:
        further = [inputs.sampling_steps] if inputs.sampling_steps else []
        material = Material(measured, read_curves(inputs.curves), samplings=read_samplings(further, measured))
    figures = {name: view_figure(name, material, inputs.figures, output) for name in DRAWINGS}
    html = render(
        "report.html.j2",
        study=study,
        settings_digest=settings.digest,
        failures=failures,
        consequence="What follows is of the variants that are whole; run the same command again for the others.",
        root=os.path.relpath(inputs.times.parent, output.parent),
        outcome=conclude(claims),
        run=describe_run(study, measured, records),
        claims=rows,
        untested=[say_untested(claim) for claim in claims if claim.verdict == ABSENT],
        condition=say_condition(report),
        exclusions=say_exclusions(report, names),
        health=judge_health(preflight, gates, classes, status, names),
        differences=describe_differences(protocol),
        hindered=hindrances(study, protocol),
        report=report,
        published=published,
        table4_rows=claim_rows([c for c in published.claims if c.claim != "0"], shorten(table4()["variant"])),
        protocol=protocol,
        measured=measured,
        agreement=describe_agreement(agreement),
        memorisation=memorisation,
        preflight=preflight,
        gates=gates,
        classes=classes,
        grid=view_samples(study, measured, inputs.samples, records["data"].get("class_names"), names),
        main=figures[MAIN],
        figures=[view for name, view in figures.items() if name != MAIN],
        sections=SECTIONS,
        tables=tables,
        names=names,
        styles=material.styles,
        unmeasured=study_tables.unmeasured(tables["variants"], measured),
        best=describe_best(measured, names),
        several=len(study.training.seeds) > 1,
        shapes=list_shapes(material),
        toggles=list_toggles(material),
        of_claim=lambda row: lambda record: record["claim"] == row.said.claim,
        deviates=lambda record: record["known"] and not record["same"],
        agrees=lambda record: record["same"] or not record["known"],
        assumptions=[describe_assumption(note, measured.metric) for note in report.assumptions],
        commit=records["provenance"].get("git_commit", ""),
        key_marker=key_marker,
        here=addresses(inputs, output),
        reconstructions=embed_picture(inputs.reconstructions),
        settings=json.dumps(study.model_dump(mode="json"), indent=2),
    )
    for made in tables.values():
        save_table(made, output.parent / "tables")
    with atomic_path(output) as temporary:
        temporary.write_text(html, encoding="utf-8")


def _make_tables(
    study: Study,
    measured: Measurements,
    report: ClaimsReport,
    published: ClaimsReport,
    protocol: Sequence[ProtocolRow],
    inputs: ReportInputs,
    records: Mapping[str, Any],
) -> dict[str, Table]:
    """The tables of ``captions.TABLES`` by name that need nothing but these."""
    ours, theirs = report.to_dict(), published.to_dict()
    versions = {key: value for key, value in records["provenance"].items() if key not in ("settings", "inputs")}
    made = [
        study_tables.tabulate_variants(measured, beside_paper=not hindrances(study, protocol)),
        study_tables.tabulate_levels(measured),
        study_tables.tabulate_fits(measured),
        tabulate_held_out(measured),
        study_tables.tabulate_budget(measured),
        verdict_tables.tabulate_pairs("pairs", ours),
        verdict_tables.tabulate_steps("steps", ours),
        verdict_tables.tabulate_correlations("correlations", ours),
        verdict_tables.tabulate_exceptions("exceptions", ours),
        verdict_tables.compare_verdicts("table4-claims", ours, theirs),
        verdict_tables.tabulate_pairs("table4-pairs", theirs),
        verdict_tables.tabulate_correlations("table4-correlations", theirs),
        verdict_tables.tabulate_exceptions("table4-exceptions", theirs),
        verdict_tables.tabulate_spread("spread"),
        verdict_tables.tabulate_reproductions("reproductions"),
        study_facts.tabulate_protocol(protocol),
        list_facts("data", records["data"], study_facts.DATA, study_facts.OTHERS),
        list_facts("vae", records["vae"], study_facts.VAE, study_facts.OTHERS),
        list_facts("latents", records.get("manifest", {}), {}, study_facts.OTHERS),
        list_facts(
            "features",
            records["extractor"] | {"reference": measured.reference},
            study_facts.EXTRACTOR,
            study_facts.OTHERS,
        ),
        cost_tables.tabulate_costs(measured, study),
        cost_tables.tabulate_stages(inputs.times),
        cost_tables.tabulate_commands(study),
        list_facts("versions", versions, study_facts.VERSIONS, study_facts.OTHERS),
    ]
    return {table.name: table for table in made}


def _read_record(path: Path) -> dict[str, Any]:
    record = read_json(path)
    if not isinstance(record, dict):
        raise UserError(f"{path} holds no JSON object. Delete it and rerun the stage that makes it.")
    return record
