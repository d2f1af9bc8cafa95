"""What of a finished study would run again after which change of its config, and nothing else."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from dit_scaling.common.files import read_json, write_json
from dit_scaling.config import parse_study
from dit_scaling.data.assets import open_stages
from pipeline import TINY, edited, plan, python, snakemake
from tiny import EVALUATION, REFERENCE, RESULTS, TRAINING, VARIANTS, VERDICT, trained

# --- one stage again


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        pytest.param("score", {"score_samples", *VERDICT}, marks=pytest.mark.slow),
        pytest.param("features", {"extract_features", "score_samples", *VERDICT}, marks=pytest.mark.slow),
        pytest.param("levels", {"levels", *VERDICT}, marks=pytest.mark.slow),
        pytest.param("losses", {"held_out_loss", *VERDICT}, marks=pytest.mark.slow),
        ("sample", EVALUATION),
        ("train", {*TRAINING, *EVALUATION}),
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
    assert jobs.keys() == {*TRAINING, *EVALUATION}
    assert len(jobs["sample_part"]) == len(jobs["score_samples"]) == 2


def test_dropped_variant_runs_only_the_verdict(study: Path, tmp_path: Path) -> None:
    config = edited(tmp_path, {"variants": ["DiT-Nano/2", "DiT-Micro/2", "DiT-Micro/1"]})
    assert plan(study, config=config).keys() == VERDICT


def test_appended_milestone_trains_only_the_rest(study: Path, tmp_path: Path) -> None:
    jobs = plan(study, config=edited(tmp_path, {"training.steps": 30, "training.milestones": [10, 20]}))
    assert trained(jobs) == {f"{variant}/step-30" for variant in VARIANTS}
    assert jobs.keys() == {*TRAINING, *EVALUATION}
    assert len(jobs["sample_part"]) == len(jobs["score_samples"]) == 4


# --- stops and gates of a finished study


def test_early_gates_that_are_added_train_only_to_them_and_sample_nothing(study: Path, tmp_path: Path) -> None:
    jobs = plan(study, config=edited(tmp_path, {"training.gates": "stop", "training.gate_steps": [4]}))
    assert trained(jobs) == {f"{variant}/step-4" for variant in VARIANTS}
    assert jobs["gate"] == {
        f"{RESULTS}/{variant}/seed-0/step-{step}/gate.json" for variant in VARIANTS for step in (4, 10, 20)
    }
    assert jobs.keys() == {"train_milestone", "gate", *VERDICT}


def test_an_early_milestone_that_is_added_is_trained_and_scored_alone(study: Path, tmp_path: Path) -> None:
    jobs = plan(study, config=edited(tmp_path, {"training.milestones": [5, 10]}))
    assert trained(jobs) == {f"{variant}/step-5" for variant in VARIANTS}
    assert jobs["score_samples"] == {
        f"{RESULTS}/{variant}/seed-0/step-5/guidance-1.0/metrics.json" for variant in VARIANTS
    }


def test_a_milestone_that_is_dropped_trains_and_samples_nothing(study: Path, tmp_path: Path) -> None:
    jobs = plan(study, config=edited(tmp_path, {"training.milestones": []}))
    assert jobs.keys() == {"held_out_loss", *VERDICT}


def test_stops_added_before_and_after_a_finished_one_are_trained_one_at_a_time(study: Path, tmp_path: Path) -> None:
    """Jobs of one run at the same time would find its folder locked."""
    changes = {"training.gates": "stop", "training.gate_steps": [4], "training.milestones": [10, 20]}
    config = edited(tmp_path, {**changes, "training.steps": 30})
    jobs = plan(study, config=config)
    assert trained(jobs) == {f"{variant}/step-{step}" for variant in VARIANTS for step in (4, 30)}
    last = f"{RESULTS}/DiT-Nano-2/seed-0/step-30/ema.safetensors"
    assert trained(plan(study, last, config=config)) == {"DiT-Nano-2/step-4", "DiT-Nano-2/step-30"}
    evaluations = jobs["score_samples"]
    assert evaluations == {f"{RESULTS}/{variant}/seed-0/step-30/guidance-1.0/metrics.json" for variant in VARIANTS}


@pytest.mark.slow
def test_a_study_finished_under_gates_that_stop_is_not_sampled_again_without_them(copied: Path) -> None:
    stopping = edited(copied, {"training.gates": "stop"})
    finish_with_gates(copied, stopping)
    assert plan(copied, config=stopping).keys() <= VERDICT
    assert plan(copied, config=edited(copied, {"training.gates": "warn"})).keys() <= VERDICT
    assert plan(copied, config=edited(copied, {"training.gates": "off"})).keys() <= VERDICT
    longer = {"training.gates": "stop", "training.steps": 30, "training.milestones": [10, 20]}
    jobs = plan(copied, config=edited(copied, longer))
    assert trained(jobs) == {f"{variant}/step-30" for variant in VARIANTS}
    assert jobs["score_samples"] == {
        f"{RESULTS}/{variant}/seed-0/step-30/guidance-1.0/metrics.json" for variant in VARIANTS
    }


@pytest.mark.slow
def test_a_forced_stage_is_repeated_for_every_step_also_where_those_before_it_are_forced(copied: Path) -> None:
    stopping = edited(copied, {"training.gates": "stop"})
    finish_with_gates(copied, stopping)
    jobs = plan(copied, "report", "--forcerun", "gate", "sample", "train", config=stopping)
    assert {rule: len(jobs[rule]) for rule in ("train_milestone", "gate", "sample_part")} == {
        "train_milestone": 8,
        "gate": 8,
        "sample_part": 8,
    }
    jobs = plan(copied, "report", "--forcerun", "gate", "sample", config=stopping)
    assert "train_milestone" not in jobs
    assert len(jobs["sample_part"]) == 8


def finish_with_gates(folder: Path, config: Path) -> None:
    """Make a finished study without gates, in ``folder``, one that ``config`` with gates that stop had finished."""
    study = parse_study(yaml.safe_load(config.read_text()))
    stages, results = open_stages(study, folder / RESULTS), folder / RESULTS
    for slug in VARIANTS:
        for step in study.training.stops:
            gate = Path(RESULTS, slug, "seed-0", f"step-{step}", "gate.json")
            record = {"settings_digest": stages.gate(slug, 0, step).digest, "status": "on track"}
            write_json(folder / gate, record)
            (folder / gate).with_suffix(".html").touch()
            for sampled in (folder / gate).parent.glob("guidance-1.0/samples/part-*.provenance.json"):
                content = read_json(sampled)
                write_json(sampled, content | {"inputs": content["inputs"] | {str(gate): "0"}})
    aggregated = results / "provenance.json"
    write_json(aggregated, read_json(aggregated) | {"settings_digest": stages.aggregate().digest})
    touch = snakemake(folder, "--cores", "1", "--touch", "--forceall", config=config)
    assert touch.returncode == 0, touch.stderr


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
        "cuda_graphs": True,
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
    assert jobs.keys() == {"preflight", *TRAINING, *EVALUATION}


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
    told = python(
        study, "-m", "dit_scaling.cli", "plan", "--configfile", str(config), "--device", "h200", "--diff", RESULTS
    )
    assert told.returncode == 0, told.stderr
    rows = {
        row[0]: int(row[1]) for line in told.stdout.splitlines() if len(row := line.split()) > 2 and row[1].isdigit()
    }
    jobs = plan(study, config=config)
    stages = {
        "train": "train_milestone",
        "sample": "sample_part",
        "features": "extract_features",
        "score": "score_samples",
    }
    assert {stage: rows.get(stage, 0) for stage in stages} == {
        stage: len(jobs.get(rule, ())) for stage, rule in stages.items()
    }


def test_vae_settings_repeat_everything_after_the_data(study: Path, tmp_path: Path) -> None:
    jobs = plan(study, config=edited(tmp_path, {"vae.steps": 21}))
    assert len(jobs["train_milestone"]) == 8
    assert jobs.keys() == {"vae", "encode_shard", "latents", "preflight", *REFERENCE, *TRAINING, *EVALUATION}


def test_other_data_repeat_everything(study: Path, tmp_path: Path) -> None:
    jobs = plan(study, config=edited(tmp_path, {"data.held_out": 90}))
    assert len(jobs["train_milestone"]) == 8
    upstream = {"data", "classifier", "vae", "encode_shard", "latents", "preflight", *REFERENCE}
    assert jobs.keys() == {*upstream, *TRAINING, *EVALUATION}


# --- without Snakemake's memory


@pytest.fixture
def forgotten(copied: Path) -> Path:
    """The finished study as it arrives on another machine: without the folder .snakemake."""
    shutil.rmtree(copied / ".snakemake")
    return copied


def test_a_copied_study_is_not_run_again(forgotten: Path) -> None:
    assert plan(forgotten) == {}


@pytest.mark.slow
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
        ({"training.learning_rate": 3.0e-4}, {"preflight", *TRAINING, *EVALUATION}),
        (
            {"vae.steps": 21},
            {"vae", "encode_shard", "latents", "preflight", *REFERENCE, *TRAINING, *EVALUATION},
        ),
        (
            {"data.held_out": 90},
            {
                *("data", "classifier", "vae", "encode_shard", "latents", "preflight", *REFERENCE),
                *(*TRAINING, *EVALUATION),
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


# --- losses of studies that finished before there were any


def test_losses_of_a_finished_study_cost_no_training_though_weights_were_deleted(copied: Path) -> None:
    for path in [*copied.glob(f"{RESULTS}/*/seed-0/losses*"), *copied.glob(f"{RESULTS}/*/seed-0/*/raw.safetensors")]:
        path.unlink()
    assert plan(copied).keys() == {"held_out_loss", *VERDICT}


def test_weights_deleted_after_they_were_measured_are_not_asked_for(copied: Path) -> None:
    for path in copied.glob(f"{RESULTS}/*/seed-0/*/raw.safetensors"):
        path.unlink()
    assert plan(copied) == {}
