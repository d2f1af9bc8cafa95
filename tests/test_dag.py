"""The whole chain once on a tiny study, and what would run again after which change."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from pipeline import ROOT, TINY, Plan, edited, plan, snakemake

RESULTS = "results/tiny"
VARIANTS = {"DiT-Nano-2", "DiT-Nano-1", "DiT-Micro-2", "DiT-Micro-1"}
VERDICT = {"aggregate", "figures", "report"}
EVALUATION = {"sample_part", "score", *VERDICT}


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
    metric = json.loads((results / "reference" / "lines.json").read_text())["metric"]
    assert np.isfinite(table[metric]).all()
    claims = json.loads((results / "claims.json").read_text())["claims"]
    assert {"1", "2", "3"} <= {claim["claim"] for claim in claims if claim["verdict"] and claim["reason"]}
    html = (results / "report.html").read_text()
    assert all(name.replace("-2", "/2").replace("-1", "/1") in html for name in VARIANTS)


def test_finished_study_has_nothing_to_do(study: Path) -> None:
    assert plan(study) == {}


def test_jobs_keep_their_logs(study: Path) -> None:
    log = study / RESULTS / "logs" / "train" / "DiT-Nano-2_seed-0_step-10.log"
    assert "10/10" in log.read_text()
    assert log.with_suffix(".history.log").read_text() == log.read_text()


def test_the_log_of_a_failed_attempt_survives_the_next(copied: Path) -> None:
    evaluation = f"{RESULTS}/DiT-Nano-2/seed-0/step-10/guidance-1.0"
    part = copied / evaluation / "samples" / "part-00000.npz"
    whole = part.read_bytes()
    part.write_bytes(whole[:200])
    command = ("--cores", "1", "--force", f"{evaluation}/metrics.json")
    assert snakemake(copied, *command).returncode != 0
    part.write_bytes(whole)
    again = snakemake(copied, *command)
    assert again.returncode == 0, again.stderr
    log = copied / RESULTS / "logs" / "fid" / "DiT-Nano-2_seed-0_step-10_guidance-1.0.log"
    assert "no whole part of samples" not in log.read_text()
    assert "part-00000.npz is no whole part of samples" in log.with_suffix(".history.log").read_text()


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
        ("fid", "score", 8),
        ("report", "report", 1),
    ],
)
def test_target_rules_plan_their_stage_and_what_it_needs(nothing: Path, target: str, last: str, count: int) -> None:
    order = ["data", "vae", "encode_shard", "latents", "train_milestone", "sample_part", "score", "aggregate", "report"]
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
        ("fid", {"score", *VERDICT}),
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
    assert len(jobs["sample_part"]) == len(jobs["score"]) == 1


def test_one_variant_is_repeated_by_its_file(study: Path) -> None:
    metrics = f"{RESULTS}/DiT-Nano-2/seed-0/step-20/guidance-1.0/metrics.json"
    assert plan(study, metrics, "--forcerun", metrics) == {"score": {metrics}}


# --- changed settings


def test_new_variant_trains_alone(study: Path, tmp_path: Path) -> None:
    config = edited(tmp_path, {"variants": ["DiT-Nano/2", "DiT-Nano/4", "DiT-Nano/1", "DiT-Micro/2", "DiT-Micro/1"]})
    jobs = plan(study, config=config)
    assert trained(jobs) == {"DiT-Nano-4/step-10", "DiT-Nano-4/step-20"}
    assert jobs.keys() == {"train_milestone", *EVALUATION}
    assert len(jobs["sample_part"]) == len(jobs["score"]) == 2


def test_dropped_variant_runs_only_the_verdict(study: Path, tmp_path: Path) -> None:
    config = edited(tmp_path, {"variants": ["DiT-Nano/2", "DiT-Micro/2", "DiT-Micro/1"]})
    assert plan(study, config=config).keys() == VERDICT


def test_appended_milestone_trains_only_the_rest(study: Path, tmp_path: Path) -> None:
    jobs = plan(study, config=edited(tmp_path, {"training.steps": 30, "training.milestones": [10, 20]}))
    assert trained(jobs) == {f"{variant}/step-30" for variant in VARIANTS}
    assert jobs.keys() == {"train_milestone", *EVALUATION}
    assert len(jobs["sample_part"]) == len(jobs["score"]) == 4


def test_claims_settings_retrain_nothing(study: Path, tmp_path: Path) -> None:
    assert plan(study, config=edited(tmp_path, {"claims.alpha": 0.01})).keys() == VERDICT


def test_resources_run_nothing_again(study: Path, tmp_path: Path) -> None:
    changes = {
        "threads": 2,
        "device": "cpu",
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
    assert jobs.keys() == {"reference", "score", *VERDICT}


def test_learning_rate_retrains_every_variant_on_the_same_latents(study: Path, tmp_path: Path) -> None:
    jobs = plan(study, config=edited(tmp_path, {"training.learning_rate": 3.0e-4}))
    assert trained(jobs) == {f"{variant}/step-{step}" for variant in VARIANTS for step in (10, 20)}
    assert jobs.keys() == {"train_milestone", *EVALUATION}


def test_vae_settings_repeat_everything_after_the_data(study: Path, tmp_path: Path) -> None:
    jobs = plan(study, config=edited(tmp_path, {"vae.steps": 21}))
    assert len(jobs["train_milestone"]) == 8
    assert jobs.keys() == {"vae", "encode_shard", "latents", "reference", "train_milestone", *EVALUATION}


def test_other_data_repeat_everything(study: Path, tmp_path: Path) -> None:
    jobs = plan(study, config=edited(tmp_path, {"data.held_out": 90}))
    assert len(jobs["train_milestone"]) == 8
    upstream = {"data", "extractor", "vae", "encode_shard", "latents", "reference"}
    assert jobs.keys() == {*upstream, "train_milestone", *EVALUATION}


# --- without Snakemake's memory


@pytest.fixture
def forgotten(copied: Path) -> Path:
    """The finished study as it arrives on another machine: without the folder .snakemake."""
    shutil.rmtree(copied / ".snakemake")
    return copied


def test_a_copied_study_is_not_run_again(forgotten: Path) -> None:
    assert plan(forgotten) == {}


@pytest.mark.parametrize(
    ("changes", "rules"),
    [
        ({"claims.alpha": 0.1}, VERDICT),
        ({"metrics.neighbours": 4}, {"reference", "score", *VERDICT}),
        ({"metrics.extractor.steps": 25}, {"extractor", "reference", "score", *VERDICT}),
        ({"sampling.steps": 6}, EVALUATION),
        ({"training.learning_rate": 3.0e-4}, {"train_milestone", *EVALUATION}),
        ({"vae.steps": 21}, {"vae", "encode_shard", "latents", "reference", "train_milestone", *EVALUATION}),
        (
            {"data.held_out": 90},
            {"data", "extractor", "vae", "encode_shard", "latents", "reference", "train_milestone", *EVALUATION},
        ),
    ],
)
def test_changed_settings_are_known_from_the_records_beside_the_results(
    forgotten: Path, changes: dict[str, Any], rules: set[str]
) -> None:
    jobs = plan(forgotten, config=edited(forgotten, changes))
    assert jobs.keys() == rules
    for worker in {"train_milestone", "sample_part", "score"} & jobs.keys():
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


def test_lost_samples_are_drawn_again_without_training(copied: Path) -> None:
    lost = f"{RESULTS}/DiT-Nano-2/seed-0/step-20/guidance-1.0"
    shutil.rmtree(copied / lost)
    assert plan(copied, "fid") == {
        "sample_part": {f"{lost}/samples/part-00000.npz"},
        "score": {f"{lost}/metrics.json"},
    }


def test_added_image_counts_as_new_data(tmp_path: Path) -> None:
    images = tmp_path / "images"
    for label in ("cat", "dog"):
        (images / label).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (32, 32), (number, 0, 0)).save(images / label / f"{number}.png")
    data = {"source": "image_folder", "path": str(images), "image_size": 32, "classes": 2, "held_out": 2}
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
    assert run.returncode == 1
    assert all(word in message for word in words), message
    assert "Traceback" not in message
    assert not (nothing / "results").exists()


def test_doubtful_config_is_warned_of(nothing: Path, tmp_path: Path) -> None:
    run = snakemake(nothing, "--dry-run", config=edited(tmp_path, {"metrics.extractor.feature_dim": 64}))
    message = " ".join((run.stdout + run.stderr).split())
    assert run.returncode == 0, message
    assert "sampling.num_samples: 60 samples are fewer than the 64 feature dimensions" in message
