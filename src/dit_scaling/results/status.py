"""How far a study is, read from the files it has written so far; nothing is imported that a stage computes with."""

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from dit_scaling.common.provenance import settings_digest
from dit_scaling.common.section import Section
from dit_scaling.common.stage_words import Stage
from dit_scaling.config.stages import Stages
from dit_scaling.config.study import Study
from dit_scaling.metrics.catalogue import metric_keys
from dit_scaling.results.gate_findings import GateFinding, broken_runs, read_gates
from dit_scaling.results.job_records import JobRecord, read_records
from dit_scaling.results.withdrawal import REPORT, of_other_settings
from dit_scaling.training.lock import in_use
from dit_scaling.training.state_folders import find_state_folders

State = Literal["done", "running", "failed", "stopped", "waiting"]

RECENT = 10  # lines of the log that the rate is taken from


@dataclass(frozen=True)
class Run:
    """One variant and seed. What is not known is None: no line of the log yet, or nothing that runs."""

    variant: str
    seed: int
    state: State
    stage: Stage
    """The first stage that is not done; the last one where all are."""
    step: int
    steps: int
    loss: float | None
    steps_per_second: float | None
    seconds_left: float | None
    """Of training, while it runs."""
    sampled: tuple[int, int]
    """Parts of samples, over all evaluations: there, and wanted."""
    extracted: tuple[int, int]
    """Features of evaluations, by every extractor: there, and wanted."""
    scored: tuple[int, int]
    """Evaluations: there, and wanted."""
    gate: str | None = None
    """What the last gate said of it, or the first that found it broken; None where none has looked at it."""


@dataclass(frozen=True)
class StudyStatus:
    """A study: its shared stages, its runs, and whether the report is written."""

    study: str
    shared: dict[str, bool]
    runs: tuple[Run, ...]
    reported: bool
    outdated: bool
    """Whether verdicts or report are there, but of other settings than now."""
    failures: tuple[JobRecord, ...] = ()
    """Jobs that failed or were killed, and have not been run again since."""
    broken: tuple[GateFinding, ...] = ()
    """The first gate that found each broken run so."""


@dataclass(frozen=True)
class _Read:
    """What the states of all runs are told from."""

    study: Study
    stages: Stages
    results: Path
    folders: dict[str, Path]
    """Of training states, by the digest of the settings they belong to."""
    records: list[JobRecord]
    now: float


def read_status(study: Study, stages: Stages, results: Path, now: float | None = None) -> StudyStatus:
    """The state of every run of ``study`` below ``results``; ``now`` in seconds since the epoch.

    A result counts as done where the record beside it has the digest of today's settings: what was made with others
    waits to be made again. What runs is a job whose process lives: looked for on this host, told by its log on another.
    """
    now = time.time() if now is None else now
    shared = {
        name: settings_digest(results / record) == settings.digest
        for name, (record, settings) in _shared_stages(study, stages).items()
    }
    records = read_records(results)
    read = _Read(study, stages, results, find_state_folders(results), records, now)
    findings = list(read_gates(study, stages, results))
    broken = broken_runs(findings)
    # Later entries win: a run that is broken is so whatever a later gate says.
    gates = {(found.variant, found.seed): found.status for found in (*findings, *broken)}
    runs = tuple(
        replace(
            _read_run(read, name, seed),
            gate=gates.get((study.variant(name).name, seed)),
        )
        for name in study.variants
        for seed in study.training.seeds
    )
    outdated = of_other_settings(results, stages)
    reported = shared.get("aggregate", False) and not outdated and (results / REPORT).exists()
    failures = tuple(record for record in records if record.failure)
    return StudyStatus(study.study, shared, runs, reported, outdated, failures, tuple(broken))


def _shared_stages(study: Study, stages: Stages) -> dict[str, tuple[str, Section]]:
    """Stages that all variants share: their records below the study's folder, and their settings of today."""
    shared: dict[str, tuple[str, Section]] = {
        "data": ("data/provenance.json", stages.data()),
        "vae": ("vae/provenance.json", stages.vae()),
        "latents": ("latents/provenance.json", stages.latents()),
    }
    if study.laws is not None:
        return shared | {"losses": ("losses-provenance.json", stages.report())}
    for extractor in study.metrics.extractors:
        folder = f"reference/{extractor.kind}"
        shared[f"{extractor.kind} extractor"] = (
            f"{folder}/extractor-provenance.json",
            stages.extractor(extractor.kind),
        )
        shared[f"{extractor.kind} reference"] = (f"{folder}/provenance.json", stages.reference(extractor.kind))
    headline = study.metrics.extractor.kind
    levels = stages.levels(headline, metric_keys())
    shared["reference levels"] = (f"reference/{headline}/levels-provenance.json", levels)
    return shared | {"aggregate": ("provenance.json", stages.aggregate())}


def _read_run(read: _Read, variant: str, seed: int) -> Run:
    study, stages = read.study, read.stages
    slug, exports = study.variant(variant).slug, study.exports(variant)
    settings, place = stages.train(slug, seed), read.results / slug / f"seed-{seed}"
    sampling, steps = study.sampling, exports[-1]
    kinds = [extractor.kind for extractor in study.metrics.extractors]
    measured = settings_digest(place / "losses.provenance.json") == stages.losses(slug, seed).digest
    exported = [
        step
        for step in exports
        if (study.laws and measured)
        or variant in study.checkpoints
        or settings_digest(place / f"step-{step}" / "provenance.json") == settings.digest
    ]
    wanted = [
        (row, read.results / study.folder_of(row))
        for row in (() if study.laws else study.evaluations_of(variant, seed))
    ]
    sampled = sum(
        settings_digest(folder / "samples" / f"part-{part:05d}.provenance.json")
        == stages.sample(slug, seed, row.step, row.guidance_scale, row.further_steps).digest
        for row, folder in wanted
        for part in range(sampling.parts)
    )
    scored = sum(
        settings_digest(folder / "provenance.json")
        == stages.score(slug, seed, row.step, row.guidance_scale, metric_keys(), row.further_steps).digest
        for row, folder in wanted
    )
    extracted = sum(
        settings_digest(folder / "features" / kind / "provenance.json")
        == stages.features(slug, seed, row.step, row.guidance_scale, kind, row.further_steps).digest
        for row, folder in wanted
        for kind in kinds
    )
    folder = read.folders.get(settings.digest)
    lines = _read_log(folder / "metrics.jsonl") if folder else []
    rate = _rate(lines)
    step = min(steps, max([*exported, *(int(line["step"]) for line in lines[-1:])], default=0))
    stage: Stage = "score"
    if steps not in exported:
        stage = "train"
    elif sampled < len(wanted) * sampling.parts:
        stage = "sample"
    elif extracted < len(wanted) * len(kinds):
        stage = "features"
    state: State = "waiting"
    jobs = [
        job for job in read.records if (job.wildcards.get("variant"), job.wildcards.get("seed")) == (slug, str(seed))
    ]
    if stage == "score" and scored == len(wanted):
        state = "done"
    elif (stage == "train" and folder and in_use(folder)) or any(job.lives(read.now) for job in jobs):
        state = "running"
    elif any(job.failure for job in jobs):
        state = "failed"
    elif stage == "train" and folder is not None and step not in exported:
        state = "stopped"
    training = state == "running" and stage == "train" and rate is not None
    return Run(
        variant=settings.variant.name,
        seed=seed,
        state=state,
        stage=stage,
        step=step,
        steps=steps,
        loss=float(lines[-1]["loss"]) if lines else None,
        steps_per_second=rate,
        seconds_left=(steps - step) / rate if training and rate else None,
        sampled=(sampled, len(wanted) * sampling.parts),
        extracted=(extracted, len(wanted) * len(kinds)),
        scored=(scored, len(wanted)),
    )


def _read_log(path: Path) -> list[dict[str, Any]]:
    """The last lines of a training log; a line that is still being written is left out."""
    if not path.exists():
        return []
    lines = []
    for line in path.read_text().splitlines()[-RECENT - 1 :]:
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines


def _rate(lines: list[dict[str, Any]]) -> float | None:
    """Steps per second over the lines."""
    if not lines:
        return None
    first = lines[0] if len(lines) > 1 else {"step": 0, "seconds": 0.0}
    seconds = lines[-1]["seconds"] - first["seconds"]
    return float((lines[-1]["step"] - first["step"]) / seconds) if seconds > 0 else None
