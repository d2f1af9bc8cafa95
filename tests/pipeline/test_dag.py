"""The whole chain once on a tiny study, and what would run again after which change."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from dit_scaling.config import parse_study
from dit_scaling.data.assets import open_stages
from dit_scaling.report.captions import FIGURES, TABLES
from dit_scaling.report.cost_tables import STAGES
from dit_scaling.results.status import read_status
from pipeline import ROOT, TINY, Plan, edited, plan, snakemake

RESULTS = "results/tiny"
VARIANTS = {"DiT-Nano-2", "DiT-Nano-1", "DiT-Micro-2", "DiT-Micro-1"}
VERDICT = {"aggregate", "figures", "report"}
REFERENCE = {"reference", "levels"}
EVALUATION = {"sample_part", "extract_features", "memorisation", "score_samples", *VERDICT}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Working directory of the tiny study, run from images to report. Tests that change files copy it."""
    folder = tmp_path_factory.mktemp("study")
    run = snakemake(folder, "--cores", "2")
    assert run.returncode == 0, run.stderr
    return folder


@pytest.fixture
def copied(study: Path, tmp_path: Path) -> Path:
    """The finished study, free to be changed; times and Snakemake's records are kept."""
    return shutil.copytree(study, tmp_path / "copy")


@pytest.fixture(scope="module")
def nothing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory in which nothing has run."""
    return tmp_path_factory.mktemp("nothing")


def trained(jobs: Plan) -> set[str]:
    """Variant and step of the training jobs, as DiT-Nano-2/step-10."""
    return {"/".join(Path(file).parts[2:5:2]) for file in jobs["train_milestone"]}


# --- end to end


def test_tiny_study_ends_in_a_report(study: Path) -> None:
    results = study / RESULTS
    table = pd.read_parquet(results / "metrics.parquet")
    # Four variants at two steps, each scored by finite distances.
    assert len(table) == 8
    metric = json.loads((results / "reference" / "classifier" / "levels.json").read_text())["metric"]
    assert np.isfinite(table[metric]).all()
    claims = json.loads((results / "claims.json").read_text())["claims"]
    assert {"1", "2", "3"} <= {claim["claim"] for claim in claims if claim["verdict"] and claim["reason"]}
    html = (results / "report.html").read_text()
    assert all(name.replace("-2", "/2").replace("-1", "/1") in html for name in VARIANTS)


def test_wall_time_of_every_stage_is_recorded_and_told(study: Path) -> None:
    stages = pd.read_csv(study / RESULTS / "tables" / "stages.csv").set_index("stage")
    run = [stage for stage in STAGES if stage != "gate"]  # off in the tiny study
    assert list(stages.index) == run
    assert stages["jobs"].to_dict() == dict.fromkeys(run, 1) | {
        "encode_shard": 3,
        "train": 8,
        "sample": 8,
        "features": 8,
        "score": 8,
        "memorisation": 4,
    }
    assert (stages["seconds"] > 0).all()
    costs = pd.read_csv(study / RESULTS / "tables" / "costs.csv")
    records = (study / RESULTS).glob("DiT-*/seed-0/step-20/provenance.json")
    assert set(costs["devices"]) == {json.loads(path.read_text())["device"] for path in records}


def test_snakemakes_own_report_has_the_figures_and_the_claims_on_its_landing_page(study: Path, tmp_path: Path) -> None:
    run = snakemake(study, "--report", str(tmp_path / "report.zip"))
    assert run.returncode == 0, run.stderr
    with zipfile.ZipFile(tmp_path / "report.zip") as archive:
        content = {Path(name).name: archive.read(name) for name in archive.namelist()}
    for name in FIGURES:
        assert content[f"{name}.svg"] == (study / RESULTS / "figures" / f"{name}.svg").read_bytes()
    assert content.keys() >= {f"{name}.csv" for name in TABLES}
    page = content["report.html"].decode()
    landing = unescape(json.loads(re.search(r"var workflow_desc = (.*?);?$", page, re.MULTILINE)[1]))
    for claim in json.loads((study / RESULTS / "claims.json").read_text())["claims"]:
        assert claim["verdict"] in landing
        assert claim["reason"].split(";")[0] in " ".join(landing.split())
    for caption in FIGURES.values():
        assert caption.title in page
        assert caption.category in page
        assert caption.text.split(".")[0].split("'")[0] in page


def test_status_of_a_finished_study_is_done(study: Path) -> None:
    config = parse_study(yaml.safe_load(TINY.read_text()))
    status = read_status(config, open_stages(config, study / RESULTS), study / RESULTS)
    assert all(status.shared.values())
    assert status.reported
    assert {(run.state, run.step, run.sampled, run.extracted, run.scored) for run in status.runs} == {
        ("done", 20, (2, 2), (2, 2), (2, 2))
    }


def test_finished_study_has_nothing_to_do(study: Path) -> None:
    assert plan(study) == {}


def test_jobs_keep_the_memory_that_they_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")  # what a user sets stays
    monkeypatch.delenv("MALLOC_MMAP_MAX_", raising=False)
    rules = tmp_path / "Snakefile"
    rules.write_text(
        f'include: "{ROOT}/rules/common.smk"\n'
        'rule tell:\n    default_target: True\n    output: "environment"\n    shell: "env > {output}"\n'
    )
    run = snakemake(tmp_path, "--cores", "1", "--snakefile", str(rules))
    assert run.returncode == 0, run.stderr
    told = (tmp_path / "environment").read_text().splitlines()
    assert {"MALLOC_TRIM_THRESHOLD_=1000000", "MALLOC_MMAP_MAX_=0"} <= set(told)


def test_jobs_keep_their_logs(study: Path) -> None:
    log = study / RESULTS / "logs" / "train" / "DiT-Nano-2_seed-0_step-10.log"
    assert "10/10" in log.read_text()
    assert log.with_suffix(".history.log").read_text() == log.read_text()


def test_the_log_of_a_failed_attempt_survives_the_next(copied: Path) -> None:
    evaluation = f"{RESULTS}/DiT-Nano-2/seed-0/step-10/guidance-1.0"
    part = copied / evaluation / "samples" / "part-00000.npz"
    whole = part.read_bytes()
    part.write_bytes(whole[:200])
    command = ("--cores", "1", "--force", f"{evaluation}/features/classifier/features.json")
    assert snakemake(copied, *command).returncode != 0
    part.write_bytes(whole)
    again = snakemake(copied, *command)
    assert again.returncode == 0, again.stderr
    log = copied / RESULTS / "logs" / "features" / "DiT-Nano-2_seed-0_step-10_guidance-1.0_classifier.log"
    complaint = "part-00000.npz is not as the job that made it left it"
    assert complaint not in log.read_text()
    assert complaint in log.with_suffix(".history.log").read_text()


def test_ci_check_accepts_a_finished_study_and_misses_a_lost_figure(copied: Path) -> None:
    checker = [sys.executable, str(ROOT / ".ci" / "check_study.py"), RESULTS]

    def check() -> subprocess.CompletedProcess[str]:
        summary = snakemake(copied, "--summary").stdout
        return subprocess.run(checker, cwd=copied, input=summary, capture_output=True, text=True, check=False)

    assert check().returncode == 0
    (copied / RESULTS / "figures" / "fid-gflops.svg").unlink()
    lost = check()
    assert lost.returncode == 1
    assert f"{RESULTS}/figures/fid-gflops.svg: missing" in lost.stdout


# --- targets


@pytest.mark.parametrize(
    ("target", "last", "count"),
    [
        ("latents", "latents", 1),
        ("train", "train_milestone", 8),
        ("sample", "sample_part", 8),
        ("features", "extract_features", 8),
        ("score", "score_samples", 8),
        ("report", "report", 1),
    ],
)
def test_target_rules_plan_their_stage_and_what_it_needs(nothing: Path, target: str, last: str, count: int) -> None:
    order = [
        "data",
        "vae",
        "encode_shard",
        "latents",
        "preflight",
        "train_milestone",
        "sample_part",
        "extract_features",
        "score_samples",
        "aggregate",
        "report",
    ]
    jobs = plan(nothing, target)
    needed = order[: order.index(last) + 1]
    assert set(needed) <= jobs.keys()
    assert not jobs.keys() & set(order[len(needed) :])
    assert len(jobs[last]) == count


def test_until_stops_after_a_stage(nothing: Path) -> None:
    assert plan(nothing, "--until", "latents").keys() == {"data", "vae", "encode_shard", "latents"}


def test_without_a_config_file_the_study_is_the_embedded_one(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "config", tmp_path / "config")
    assert plan(tmp_path, "report", config=None)["report"] == {"results/embedded/report.html"}
    assert plan(tmp_path, "report")["report"] == {"results/tiny/report.html"}


# --- one stage again


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        ("score", {"score_samples", *VERDICT}),
        ("features", {"extract_features", "score_samples", *VERDICT}),
        ("levels", {"levels", *VERDICT}),
        ("sample", EVALUATION),
        ("train", {"train_milestone", *EVALUATION}),
    ],
)
def test_forcerun_repeats_a_stage_for_all_variants_and_nothing_before_it(
    study: Path, stage: str, expected: set[str]
) -> None:
    # A gathering rule that is forced joins the targets; the report has to be named beside it.
    assert plan(study, "report", "--forcerun", stage).keys() == expected


def test_one_file_is_made_for_one_variant(nothing: Path) -> None:
    jobs = plan(nothing, f"{RESULTS}/DiT-Nano-2/seed-0/step-20/guidance-1.0/metrics.json")
    assert trained(jobs) == {"DiT-Nano-2/step-10", "DiT-Nano-2/step-20"}
    assert len(jobs["sample_part"]) == len(jobs["score_samples"]) == 1


def test_an_early_milestone_is_scored_without_waiting_for_the_next(nothing: Path) -> None:
    jobs = plan(nothing, f"{RESULTS}/DiT-Nano-2/seed-0/step-10/guidance-1.0/metrics.json")
    assert trained(jobs) == {"DiT-Nano-2/step-10"}


def test_one_variant_is_repeated_by_its_file(study: Path) -> None:
    metrics = f"{RESULTS}/DiT-Nano-2/seed-0/step-20/guidance-1.0/metrics.json"
    assert plan(study, metrics, "--forcerun", metrics) == {"score_samples": {metrics}}


# --- changed settings


def test_new_variant_trains_alone(study: Path, tmp_path: Path) -> None:
    config = edited(tmp_path, {"variants": ["DiT-Nano/2", "DiT-Nano/4", "DiT-Nano/1", "DiT-Micro/2", "DiT-Micro/1"]})
    jobs = plan(study, config=config)
    assert trained(jobs) == {"DiT-Nano-4/step-10", "DiT-Nano-4/step-20"}
    assert jobs.keys() == {"train_milestone", *EVALUATION}
    assert len(jobs["sample_part"]) == len(jobs["score_samples"]) == 2


def test_dropped_variant_runs_only_the_verdict(study: Path, tmp_path: Path) -> None:
    config = edited(tmp_path, {"variants": ["DiT-Nano/2", "DiT-Micro/2", "DiT-Micro/1"]})
    assert plan(study, config=config).keys() == VERDICT


def test_appended_milestone_trains_only_the_rest(study: Path, tmp_path: Path) -> None:
    jobs = plan(study, config=edited(tmp_path, {"training.steps": 30, "training.milestones": [10, 20]}))
    assert trained(jobs) == {f"{variant}/step-30" for variant in VARIANTS}
    assert jobs.keys() == {"train_milestone", *EVALUATION}
    assert len(jobs["sample_part"]) == len(jobs["score_samples"]) == 4


@pytest.mark.parametrize("changes", [{"claims.alpha": 0.01}, {"deviations": {"batch size": "a test"}}])
def test_settings_of_verdicts_figures_and_report_retrain_nothing(
    study: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    assert plan(study, config=edited(tmp_path, changes)).keys() == VERDICT


def test_resources_run_nothing_again(study: Path, tmp_path: Path) -> None:
    changes = {
        "threads": 2,
        "device": "cpu",
        "gpus_per_node": 2,
        "micro_batch": 2,
        "save_steps": 7,
        "encode_batch": 7,
        "sample_batch": 7,
        "save_minutes": 1.0,
        "log_seconds": 1.0,
    }
    assert plan(study, config=edited(tmp_path, {f"resources.{key}": value for key, value in changes.items()})) == {}


def test_order_of_keys_does_not_matter(study: Path, tmp_path: Path) -> None:
    config = yaml.safe_load(TINY.read_text())
    turned = {
        key: dict(reversed(value.items())) if isinstance(value, dict) else value
        for key, value in reversed(config.items())
    }
    path = tmp_path / "turned.yaml"
    path.write_text(yaml.safe_dump(turned, sort_keys=False))
    assert plan(study, config=path) == {}


def test_metrics_settings_score_again_without_sampling(study: Path, tmp_path: Path) -> None:
    jobs = plan(study, config=edited(tmp_path, {"metrics.neighbours": 5}))
    assert jobs.keys() == {"levels", "score_samples", *VERDICT}


def test_quick_looks_lie_apart_from_the_papers_samples(study: Path, tmp_path: Path) -> None:
    jobs = plan(study, config=edited(tmp_path, {"sampling.sampler": "ddim"}))
    assert jobs.keys() == {"preflight", *EVALUATION}
    assert all("/ddim/guidance-1.0/" in file for file in jobs["sample_part"] | jobs["score_samples"])


def test_further_features_are_scored_beside_the_others_without_sampling(study: Path, tmp_path: Path) -> None:
    jobs = plan(study, config=edited(tmp_path, {"metrics.beside": [{"kind": "dinov2"}]}))
    assert jobs.keys() == {"fetch", "extractor", "reference", "extract_features", "score_samples", *VERDICT}
    assert jobs["reference"] == {f"{RESULTS}/reference/dinov2/moments.npz"}
    assert len(jobs["score_samples"]) == 8


def test_learning_rate_retrains_every_variant_on_the_same_latents(study: Path, tmp_path: Path) -> None:
    jobs = plan(study, config=edited(tmp_path, {"training.learning_rate": 3.0e-4}))
    assert trained(jobs) == {f"{variant}/step-{step}" for variant in VARIANTS for step in (10, 20)}
    assert jobs.keys() == {"preflight", "train_milestone", *EVALUATION}


@pytest.mark.parametrize(
    "changes",
    [
        {"training.learning_rate": 3.0e-4},
        {"variants": ["DiT-Nano/2", "DiT-Nano/4", "DiT-Nano/1", "DiT-Micro/2", "DiT-Micro/1"]},
        {"sampling.steps": 6},
    ],
    ids=["learning rate", "new variant", "sampling steps"],
)
def test_plan_says_in_advance_what_the_workflow_would_run(study: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    config = edited(tmp_path, changes)
    command = [str(Path(sys.executable).with_name("dit-scaling")), "plan", "--configfile", str(config)]
    told = subprocess.run([*command, "--diff", RESULTS], cwd=study, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    rows = {
        row[0]: int(row[1]) for line in told.stdout.splitlines() if len(row := line.split()) > 2 and row[1].isdigit()
    }
    jobs = plan(study, config=config)
    stages = {
        "training": "train_milestone",
        "sampling": "sample_part",
        "features": "extract_features",
        "score": "score_samples",
    }
    assert {stage: rows.get(stage, 0) for stage in stages} == {
        stage: len(jobs.get(rule, ())) for stage, rule in stages.items()
    }


def test_vae_settings_repeat_everything_after_the_data(study: Path, tmp_path: Path) -> None:
    jobs = plan(study, config=edited(tmp_path, {"vae.steps": 21}))
    assert len(jobs["train_milestone"]) == 8
    assert jobs.keys() == {"vae", "encode_shard", "latents", "preflight", *REFERENCE, "train_milestone", *EVALUATION}


def test_other_data_repeat_everything(study: Path, tmp_path: Path) -> None:
    jobs = plan(study, config=edited(tmp_path, {"data.held_out": 90}))
    assert len(jobs["train_milestone"]) == 8
    upstream = {"data", "classifier", "vae", "encode_shard", "latents", "preflight", *REFERENCE}
    assert jobs.keys() == {*upstream, "train_milestone", *EVALUATION}


# --- without Snakemake's memory


@pytest.fixture
def forgotten(copied: Path) -> Path:
    """The finished study as it arrives on another machine: without the folder .snakemake."""
    shutil.rmtree(copied / ".snakemake")
    return copied


def test_a_copied_study_is_not_run_again(forgotten: Path) -> None:
    assert plan(forgotten) == {}


def test_a_copy_that_lost_the_files_times_is_not_run_again_once_touched(study: Path, tmp_path: Path) -> None:
    """As by `cp -r`, and in an order that makes inputs newer than what was made of them."""
    files = sorted(path for path in (study / RESULTS).rglob("*") if path.is_file())
    for second, path in enumerate(reversed(files)):
        target = tmp_path / path.relative_to(study)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        os.utime(target, (1e9 + second, 1e9 + second))
    assert plan(tmp_path) != {}
    touch = snakemake(tmp_path, "--cores", "1", "--touch", "--forceall")
    assert touch.returncode == 0, touch.stderr
    assert plan(tmp_path) == {}
    assert len(plan(tmp_path, config=edited(tmp_path, {"training.learning_rate": 3.0e-4}))["train_milestone"]) == 8


@pytest.mark.parametrize(
    ("changes", "rules"),
    [
        ({"claims.alpha": 0.1}, VERDICT),
        ({"metrics.neighbours": 4}, {"levels", "score_samples", *VERDICT}),
        ({"metrics.extractor.steps": 25}, {"classifier", *REFERENCE, "extract_features", "score_samples", *VERDICT}),
        ({"sampling.steps": 6}, {"preflight", *EVALUATION}),
        ({"training.learning_rate": 3.0e-4}, {"preflight", "train_milestone", *EVALUATION}),
        (
            {"vae.steps": 21},
            {"vae", "encode_shard", "latents", "preflight", *REFERENCE, "train_milestone", *EVALUATION},
        ),
        (
            {"data.held_out": 90},
            {
                *("data", "classifier", "vae", "encode_shard", "latents", "preflight", *REFERENCE),
                *("train_milestone", *EVALUATION),
            },
        ),
    ],
)
def test_changed_settings_are_known_from_the_records_beside_the_results(
    forgotten: Path, changes: dict[str, Any], rules: set[str]
) -> None:
    jobs = plan(forgotten, config=edited(forgotten, changes))
    assert jobs.keys() == rules
    for worker in {"train_milestone", "sample_part", "score_samples"} & jobs.keys():
        assert len(jobs[worker]) == 8


def test_a_torn_record_counts_as_outdated(forgotten: Path) -> None:
    (forgotten / RESULTS / "DiT-Nano-2" / "seed-0" / "step-20" / "provenance.json").write_text("{")
    assert trained(plan(forgotten)) == {"DiT-Nano-2/step-20"}


def test_sampling_settings_count_while_a_job_upstream_runs(copied: Path) -> None:
    jobs = plan(copied, "--forcerun", "vae", config=edited(copied, {"sampling.steps": 6}))
    assert len(jobs["sample_part"]) == 8
    assert "train_milestone" not in jobs


# --- changed files


def test_rerun_upstream_with_equal_settings_does_not_retrain(study: Path) -> None:
    assert "train_milestone" not in plan(study, "--forcerun", "encode_shard")


def test_newer_manifest_does_not_retrain(copied: Path) -> None:
    os.utime(copied / RESULTS / "latents" / "manifest.json")
    assert plan(copied) == {}


def test_rewritten_preflight_does_not_retrain(copied: Path) -> None:
    record = copied / RESULTS / "preflight" / "preflight.json"
    record.write_text(record.read_text().replace('"seconds"', '"duration"'))
    assert plan(copied).keys() == {"report"}


def test_training_waits_for_a_preflight_that_passed(copied: Path) -> None:
    (copied / RESULTS / "preflight" / "preflight.json").unlink()
    assert plan(copied) == {}
    jobs = plan(copied, "train", config=edited(copied, {"training.learning_rate": 3.0e-4}))
    assert jobs.keys() == {"preflight", "train_milestone"}


def test_lost_samples_are_drawn_again_without_training(copied: Path) -> None:
    lost = f"{RESULTS}/DiT-Nano-2/seed-0/step-20/guidance-1.0"
    shutil.rmtree(copied / lost)
    assert plan(copied, "score") == {
        "sample_part": {f"{lost}/samples/part-00000.npz"},
        "extract_features": {f"{lost}/features/classifier/features.json"},
        "score_samples": {f"{lost}/metrics.json"},
    }


def test_encoding_goes_on_from_the_last_finished_shard(copied: Path) -> None:
    """As a killed job leaves it: Snakemake deletes the outputs of a job that did not finish."""
    for name in ("train-00001.tar", "train-00001.json", "manifest.json"):
        (copied / RESULTS / "latents" / name).unlink()
    jobs = plan(copied, "latents")
    assert jobs["encode_shard"] == {f"{RESULTS}/latents/train-00001.tar"}
    assert jobs.keys() == {"encode_shard", "latents"}


def test_sampling_goes_on_from_the_last_finished_part(copied: Path) -> None:
    config = edited(copied, {"sampling.parts": 3})
    evaluation = f"{RESULTS}/DiT-Nano-2/seed-0/step-20/guidance-1.0"
    run = snakemake(copied, "--cores", "2", f"{evaluation}/metrics.json", config=config)
    assert run.returncode == 0, run.stderr
    (copied / evaluation / "samples" / "part-00001.npz").unlink()
    shutil.rmtree(copied / evaluation / "features")
    (copied / evaluation / "metrics.json").unlink()
    jobs = plan(copied, f"{evaluation}/metrics.json", config=config)
    assert jobs == {
        "sample_part": {f"{evaluation}/samples/part-00001.npz"},
        "extract_features": {f"{evaluation}/features/classifier/features.json"},
        "score_samples": {f"{evaluation}/metrics.json"},
    }


def test_a_metric_more_is_measured_on_kept_features_without_samples(copied: Path, tmp_path: Path) -> None:
    for part in copied.glob(f"{RESULTS}/**/part-*.npz"):
        part.unlink()
    rules = tmp_path / "Snakefile"
    rules.write_text(
        "from dataclasses import replace\n"
        "from dit_scaling.metrics import catalogue\n"
        'more = replace(catalogue.metric("recall"), key="more", column="more_{features}")\n'
        "catalogue.METRICS += (more,)\n"
        f'include: "{ROOT}/Snakefile"\n'
    )
    jobs = plan(copied, "report", "--snakefile", str(rules))
    assert jobs.keys() == {"levels", "score_samples", *VERDICT}
    assert len(jobs["score_samples"]) == 8
    assert plan(copied) == {}


def test_what_cleaning_deletes_is_not_made_again(copied: Path) -> None:
    config = edited(copied, {"keep": {"states": False, "checkpoints": "last"}, "sampling.keep_samples": False})
    command = [str(Path(sys.executable).with_name("dit-scaling")), "clean", "--configfile", str(config), "--yes"]
    clean = subprocess.run(command, cwd=copied, capture_output=True, text=True, check=False)
    assert clean.returncode == 0, clean.stderr
    assert not list(copied.glob(f"{RESULTS}/states/*/state-*"))
    assert {path.name for path in copied.glob(f"{RESULTS}/DiT-*/seed-0/step-*/*.safetensors")} == {"ema.safetensors"}
    assert len(list(copied.glob(f"{RESULTS}/DiT-*/seed-0/step-*/*.safetensors"))) == 4
    assert not list(copied.glob(f"{RESULTS}/DiT-*/**/samples/part-*.npz"))
    assert plan(copied, config=config) == {}


def test_training_on_two_ranks_through_the_rule(copied: Path) -> None:
    config = edited(copied, {"resources.gpus_per_node": 2, "training.steps": 30, "training.milestones": [10, 20]})
    target = f"{RESULTS}/DiT-Nano-2/seed-0/step-30/ema.safetensors"
    run = snakemake(copied, "--cores", "2", target, config=config)
    assert run.returncode == 0, run.stderr
    log = (copied / RESULTS / "logs" / "train" / "DiT-Nano-2_seed-0_step-30.log").read_text()
    assert "rank 0: DiT-Nano/2, seed 0: starts at step 20 of 30 on 2 x cpu" in log
    assert (copied / target).exists()


def test_samples_that_are_not_kept_go_once_they_are_scored(copied: Path) -> None:
    config = edited(copied, {"sampling.parts": 3, "sampling.keep_samples": False})
    evaluation = f"{RESULTS}/DiT-Nano-2/seed-0/step-10/guidance-1.0"
    shutil.rmtree(copied / evaluation / "samples")
    run = snakemake(copied, "--cores", "1", f"{evaluation}/metrics.json", config=config)
    assert run.returncode == 0, run.stderr
    left = {path.name for path in (copied / evaluation / "samples").iterdir()}
    kept = ("first-{}.npz", "part-{}.png", "part-{}.provenance.json")
    assert left == {name.format(f"0000{part}") for part in range(3) for name in kept}
    assert plan(copied, f"{evaluation}/metrics.json", config=config) == {}


def test_added_image_counts_as_new_data(tmp_path: Path) -> None:
    images = tmp_path / "images"
    for label in ("cat", "dog"):
        (images / label).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (32, 32), (number, 0, 0)).save(images / label / f"{number}.png")
    data = {"source": "image_folder", "path": str(images), "image_size": 32, "classes": 2, "held_out": 4}
    config = edited(tmp_path, {"data": data})
    facts = f"{RESULTS}/data/data.json"
    assert snakemake(tmp_path, "--cores", "1", facts, config=config).returncode == 0
    assert plan(tmp_path, facts, config=config) == {}
    Image.new("RGB", (32, 32)).save(images / "cat" / "new.png")
    assert plan(tmp_path, facts, config=config) == {"data": {facts}}


# --- refusals


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("training.learning_rat", 1.0e-3, ["training", "learning_rat", "unknown key"]),
        ("training.steps", "many", ["training.steps", "many"]),
        ("training.milestones", [40], ["training.milestones", "40", "beyond the last step 20"]),
        ("variants", ["DiT-Nano/3"], ["DiT-Nano/3", "latent size 8 is not divisible by patch 3"]),
        ("data.classes", 11, ["data.classes", "11", "10 labels"]),
    ],
)
def test_bad_config_stops_before_any_job(
    nothing: Path, tmp_path: Path, key: str, value: object, words: list[str]
) -> None:
    run = snakemake(nothing, "--cores", "1", config=edited(tmp_path, {key: value}))
    message = run.stdout + run.stderr
    assert run.returncode == 2
    assert all(word in message for word in words), message
    assert "Traceback" not in message
    assert not (nothing / "results").exists()


def test_doubtful_config_is_warned_of(nothing: Path, tmp_path: Path) -> None:
    run = snakemake(nothing, "--dry-run", config=edited(tmp_path, {"metrics.extractor.feature_dim": 64}))
    message = " ".join((run.stdout + run.stderr).split())
    assert run.returncode == 0, message
    assert "sampling.num_samples: 60 samples are fewer than the 64 feature dimensions" in message


def test_training_asks_a_scheduler_for_the_memory_that_it_needs(tmp_path: Path) -> None:
    run = snakemake(tmp_path, "--dry-run")
    asked = re.findall(
        r"^rule train_milestone:\n(?:    .*\n)*?    resources: .*?mem_mb=(\d+)", run.stdout + run.stderr, re.MULTILINE
    )
    assert asked
    assert all(32_000 < int(figure) < 33_000 for figure in asked)
