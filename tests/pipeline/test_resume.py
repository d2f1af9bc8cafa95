"""What would run again after which change of files, and how a study resumes from what is left."""

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from pipeline import ROOT, edited, plan, python, snakemake
from tiny import RESULTS, VERDICT

# The study's record of preflight counts, which other settings of samples would make anew in seconds.
SAMPLES_ALONE = ("--allowed-rules", "sample_part", "extract_features", "score_samples")


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
    run = snakemake(copied, "--cores", "2", f"{evaluation}/metrics.json", *SAMPLES_ALONE, config=config)
    assert run.returncode == 0, run.stderr
    (copied / evaluation / "samples" / "part-00001.npz").unlink()
    shutil.rmtree(copied / evaluation / "features")
    (copied / evaluation / "metrics.json").unlink()
    jobs = plan(copied, f"{evaluation}/metrics.json", *SAMPLES_ALONE, config=config)
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
    clean = python(copied, "-m", "dit_scaling.cli", "clean", "--configfile", str(config), "--yes")
    assert clean.returncode == 0, clean.stderr
    assert not list(copied.glob(f"{RESULTS}/states/*/state-*"))
    assert {path.name for path in copied.glob(f"{RESULTS}/DiT-*/seed-0/step-*/*.safetensors")} == {"ema.safetensors"}
    assert len(list(copied.glob(f"{RESULTS}/DiT-*/seed-0/step-*/*.safetensors"))) == 4
    assert not list(copied.glob(f"{RESULTS}/DiT-*/**/samples/part-*.npz"))
    assert plan(copied, config=config) == {}


@pytest.mark.slow
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
    run = snakemake(copied, "--cores", "1", f"{evaluation}/metrics.json", *SAMPLES_ALONE, config=config)
    assert run.returncode == 0, run.stderr
    left = {path.name for path in (copied / evaluation / "samples").iterdir()}
    kept = ("first-{}.npz", "part-{}.png", "part-{}.provenance.json")
    assert left == {name.format(f"0000{part}") for part in range(3) for name in kept}
    assert plan(copied, f"{evaluation}/metrics.json", *SAMPLES_ALONE, config=config) == {}


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
