"""The report of a study some of whose jobs failed: what went wrong first, then what the others made."""

from pathlib import Path

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import atomic_folder
from dit_scaling.common.provenance import settings_digest
from dit_scaling.common.seals import check_seals
from dit_scaling.config.stages import Stages
from dit_scaling.config.study import Study
from dit_scaling.data.assets import open_stages
from dit_scaling.metrics.catalogue import metric_keys
from dit_scaling.report.drawings import draw_figures
from dit_scaling.report.failed_page import write_failed_page
from dit_scaling.report.inputs import evaluation_folder, find_inputs
from dit_scaling.report.page import write_report
from dit_scaling.results.aggregate import AggregateFiles, AggregateInputs, aggregate
from dit_scaling.results.job_records import JobRecord, read_records

PARTIAL = "partial"


def write_partial_report(study: Study, stages: Stages, results: Path) -> tuple[Path, list[JobRecord]] | None:
    """Write ``results``/partial/report.html about the variants all of whose evaluations are there.

    Returns:
        the page and the jobs that failed; None where none did.

    Raises:
        UserError: something that a whole variant needs is damaged, or the disk is full.
    """
    failures = [record for record in read_records(results) if record.failure]
    if not failures:
        return None
    whole = tuple(name for name in study.variants if is_whole(study, stages, results, name))
    with atomic_folder(results / PARTIAL) as folder:
        try:
            if not whole:
                raise UserError("no variant is whole")
            write_parts(reduced(study, whole), results, folder, failures)
        except UserError as error:
            write_failed_page(study.study, failures, f"There is no report: {error}", folder / "report.html")
    return results / PARTIAL / "report.html", failures


def is_whole(study: Study, stages: Stages, results: Path, name: str) -> bool:
    """Whether every evaluation of a variant was made with the settings of now, and its samples were searched."""
    slug, training, sampling = study.variant(name).slug, study.training, study.sampling
    headline = slug, training.seeds[0], training.steps, sampling.guidance_scales[0]
    searched = evaluation_folder(study, results, *headline) / "memorisation.json"
    return searched.is_file() and all(
        (folder := results / study.folder_of(row)).joinpath("metrics.json").is_file()
        and settings_digest(folder / "provenance.json")
        == stages.score(slug, seed, row.step, row.guidance_scale, metric_keys(), row.further_steps).digest
        for seed in study.training.seeds
        for row in study.evaluations_of(name, seed)
    )


def reduced(study: Study, variants: tuple[str, ...]) -> Study:
    """The study of some of its variants."""
    bottlenecks = {name: reason for name, reason in study.claims.bottlenecks.items() if name in variants}
    return study.model_copy(
        update={
            "variants": variants,
            "checkpoints": {name: file for name, file in study.checkpoints.items() if name in variants},
            "claims": study.claims.model_copy(update={"bottlenecks": bottlenecks}),
        }
    )


def write_parts(study: Study, results: Path, folder: Path, failures: list[JobRecord]) -> None:
    """Aggregate, draw and report a study from what ``results`` has of it, in ``folder``."""
    stages, training = open_stages(study, results), study.training
    last = [
        results / study.variant(name).slug / f"seed-{seed}" / f"step-{training.steps}"
        for name in study.trained
        for seed in training.seeds
    ]
    metrics = [results / study.folder_of(row) / "metrics.json" for row in study.evaluations]
    inputs = find_inputs(study, results, folder)
    check_seals([*metrics, inputs.levels, *inputs.samples, *inputs.memorisation])
    files = AggregateFiles(
        parquet=inputs.table,
        csv=inputs.table.with_suffix(".csv"),
        curves=inputs.curves,
        claims=inputs.claims,
        agreement=inputs.agreement,
        claims_table=inputs.claims.with_suffix(".csv"),
        sampling_steps=inputs.sampling_steps,
    )
    read = AggregateInputs(
        metrics,
        [place / "metrics.jsonl" for place in last],
        [place / "provenance.json" for place in last],
        inputs.manifest,
        inputs.levels,
    )
    aggregate(stages.aggregate(), read, files)
    samples = dict(zip(study.variants, inputs.samples, strict=True))
    draw_figures(
        inputs.table, inputs.curves, inputs.levels, inputs.claims, samples, inputs.figures, inputs.sampling_steps
    )
    write_report(stages.report(), inputs, folder / "report.html", failures)
