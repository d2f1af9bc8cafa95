"""The whole chain once on a tiny study, what each target plans, and what is refused before any job."""

import json
import re
import shutil
import subprocess
import zipfile
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from dit_scaling.common.stage_words import RULES
from dit_scaling.config import parse_study
from dit_scaling.data.assets import open_stages
from dit_scaling.report.captions import FIGURES
from dit_scaling.report.cost_tables import PARTS
from dit_scaling.results.status import read_status
from pipeline import ROOT, TINY, asked, edited, plan, snakemake, warm_python
from tiny import RESULTS, VARIANTS

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
    stages = pd.read_csv(study / RESULTS / "tables" / "stages.csv").set_index("part")
    run = [part for part in PARTS if part != "gate"]  # off in the tiny study
    assert stages["stage"].to_dict() == {part: PARTS[part] for part in run}
    assert list(stages.index) == run
    assert stages["jobs"].to_dict() == dict.fromkeys(run, 1) | {
        "encode_shard": 3,
        "train": 8,
        "losses": 4,
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
        names = sorted(archive.namelist(), key=len, reverse=True)  # its own page stands above all it holds
        content = {Path(name).name: archive.read(name) for name in names}
    for name in FIGURES:
        assert content[f"{name}.svg"] == (study / RESULTS / "figures" / f"{name}.svg").read_bytes()
    assert "verdicts.csv" in content
    page = content["report.html"].decode()
    landing = unescape(json.loads(re.search(r"var workflow_desc = (.*?);?$", page, re.MULTILINE)[1]))
    told = " ".join(landing.split())
    verdicts = pd.read_csv(study / RESULTS / "tables" / "verdicts.csv")
    assert len(verdicts) == 3
    for text in (*verdicts["verdict"], *verdicts["finding"]):
        assert text in told
    assert not re.search(r"\d\.\d{4}|fd_", told)  # numbers are rounded, columns have no place in prose
    for caption in FIGURES.values():
        assert caption.title in page
        assert caption.category in page
        assert caption.text.split(".")[0].split("'")[0] in page


def test_a_run_tells_a_line_a_job_and_ends_with_verdicts_and_report(study: Path) -> None:
    told = (study / "told.txt").read_text()
    jobs = re.findall(r"^ *(\d+) of (\d+)  stage (\d+) of (\d+): (\w+)", told, re.MULTILINE)
    records = list((study / RESULTS / "times").rglob("*.tsv"))
    assert len(jobs) == len(records) + 1  # The report has no record of its time.
    assert [int(done) for done, *_ in jobs] == list(range(1, len(jobs) + 1))
    assert {total for _, total, *_ in jobs} == {str(len(jobs))}
    stages = [stage for stage in RULES if stage != "gate"]
    assert {(int(number), stage) for _, _, number, _, stage in jobs} == set(enumerate(stages, start=1))
    assert "rule train_milestone" not in told
    assert " INFO " not in told
    end = told[told.index("\nTook ") :]
    for claim in json.loads((study / RESULTS / "claims.json").read_text())["claims"]:
        line = re.search(rf"^Claim {claim['claim']} \([^)]+\): {claim['verdict']}\. .+\.$", end, re.MULTILINE)
        assert bool(line) == (claim["verdict"] != "not testable")
    assert f"The report: {RESULTS}/report.html" in end
    (log,) = sorted((study / ".snakemake" / "log").glob("*.log"))[:1]
    assert "rule train_milestone" in log.read_text()


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
    checker = [str(warm_python().executable), str(ROOT / ".ci" / "check_study.py"), RESULTS]

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


def test_losses_are_measured_without_sampling(nothing: Path) -> None:
    jobs = plan(nothing, "losses")
    assert len(jobs["held_out_loss"]) == 4
    assert not jobs.keys() & {"sample_part", "classifier", "extractor", "aggregate"}


def test_until_stops_after_a_stage(nothing: Path) -> None:
    assert plan(nothing, "--until", "latents").keys() == {"data", "vae", "encode_shard", "latents"}


def test_without_a_config_file_the_study_is_the_embedded_one(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "config", tmp_path / "config")
    assert plan(tmp_path, "report", config=None)["report"] == {"results/embedded/report.html"}
    assert plan(tmp_path, "report")["report"] == {"results/tiny/report.html"}


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
    figures = asked(tmp_path, "train_milestone", "mem_mb")
    assert figures
    assert all(32_000 < figure < 33_000 for figure in figures)
