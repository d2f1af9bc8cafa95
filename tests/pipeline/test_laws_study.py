"""A study for scaling laws, end to end on the tiny study's images: one job per run, nothing sampled, a table."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml

from dit_scaling.common.files import write_json
from dit_scaling.config import load_study, parse_study
from dit_scaling.data.assets import open_stages
from dit_scaling.plan.command import plan_study, tell_plan
from dit_scaling.plan.price import price_of, stated_devices
from dit_scaling.plan.rerun import changed_against_jobs, changed_against_results
from dit_scaling.plan.space import disk_of
from dit_scaling.results.status import read_status
from dit_scaling.variants import count_gflops
from pipeline import TINY, Plan, plan, snakemake

LAWS = {
    "study": "laws",
    "variants": ["DiT-Nano/2", "DiT-Micro/2"],
    "laws": {
        "budgets": [
            {"flops": 1.0e9, "variants": ["DiT-Nano/2", "DiT-Micro/2"]},
            {"flops": 2.0e9, "variants": ["DiT-Nano/2", "DiT-Micro/2"], "role": "predict"},
        ]
    },
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "laws.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(TINY.read_text()) | LAWS))
    return path


def test_one_job_trains_and_measures_a_run_and_nothing_is_sampled(tmp_path: Path, config: Path) -> None:
    jobs = plan(tmp_path, config=config)
    assert_priced(jobs, config)
    assert jobs.keys() == {"data", "vae", "encode_shard", "latents", "preflight", "train_and_measure", "loss_table"}
    assert len(jobs["train_and_measure"]) == 2


RULES = {"vae": "vae", "latents": "encode_shard", "train": "train_and_measure"}
"""Of each stage that the plan prices."""


def assert_priced(jobs: Plan, config: Path) -> None:
    """The plan lists what a dry run would run, but for what costs nothing; shards are one job of its own."""
    priced = plan_study(load_study(config)).jobs
    assert {RULES[job.stage] for job in priced} == jobs.keys() - {"data", "latents", "preflight", "loss_table"}
    trainings = [job.records for job in priced if job.stage == "train"]
    made = {f"results/laws/{record}".replace(".provenance.json", ".json") for (record,) in trainings}
    assert made == jobs["train_and_measure"]
    assert len(made) == len(trainings)


def test_the_plan_prices_each_run_once_to_its_largest_budget(config: Path, tmp_path: Path) -> None:
    study = load_study(config)
    trainings = [job for job in plan_study(study).jobs if job.stage == "train"]
    for job in trainings:
        flops = LAWS["laws"]["budgets"][-1]["flops"]
        assert job.begin == 0
        assert 2 * job.multiply_adds == pytest.approx(flops, rel=0.05)  # steps are whole numbers
        gflops = count_gflops(study.variant(job.variant), study.latent_size, study.vae.latent_channels)
        passes = 2 * 2 * (study.metrics.loss_draws + 1) * min(study.metrics.loss_images, study.data.held_out)
        assert job.measures
        assert job.measures.multiply_adds == pytest.approx(1e9 * gflops * passes)  # EMA, two splits, two budgets
    devices = stated_devices("a100", 1, 0.4, study)
    alone = [replace(job, measures=None) for job in trainings]
    losses = sum(devices.seconds(job.measures) for job in trainings if job.measures)
    both, training = (price_of(some, devices).device_seconds for some in (trainings, alone))
    assert both == pytest.approx(training + losses)
    assert "1 seed, 90 to 172 steps of batch 8" in tell_plan(study, devices, None)
    assert disk_of(study, 5000).features == 0
    # A budget more: the runs go on from the last one that they have spent.
    longer = yaml.safe_load(config.read_text())
    longer["laws"]["budgets"].append({"flops": 4.0e9, "variants": ["DiT-Nano/2", "DiT-Micro/2"]})
    more = [job for job in plan_study(parse_study(longer)).jobs if job.stage == "train"]
    changed = changed_against_jobs(more, trainings)
    assert [job.images for job in changed] == pytest.approx([job.images / 2 for job in more], rel=0.02)
    stages = open_stages(study, tmp_path)
    write_json(tmp_path / "latents" / "manifest.json", {"content": "toy"})
    for job in trainings:
        write_json(tmp_path / job.records[0], {"settings_digest": job.digest})
        run = tmp_path / "states" / job.run
        settings = stages.train(study.variant(job.variant).slug, study.training.seeds[0])
        assert settings.digest == job.run
        write_json(run / "settings.json", {"settings": settings.stored(), "latents": "toy"})
        write_json(run / f"state-{job.end:09d}.json", {})
    assert changed_against_results(trainings, tmp_path) == []
    assert changed_against_results(more, tmp_path) == changed


@pytest.mark.slow
def test_the_whole_study_ends_in_its_table(tmp_path: Path, config: Path) -> None:
    run = snakemake(tmp_path, "--cores", "1", config=config)
    assert run.returncode == 0, run.stderr
    table = pd.read_csv(tmp_path / "results/laws/losses.csv")
    assert sorted(table.groupby("variant")["step"].count()) == [2, 2]
    assert table[["held_out_mse", "training_mse", "held_out_bound"]].gt(0).all(axis=None)
    assert "raw_held_out_mse" not in table.columns
    assert plan(tmp_path, config=config) == {}
    study, results = load_study(config), tmp_path / "results" / "laws"
    status = read_status(study, open_stages(study, results), results)
    assert {(run.state, run.step == run.steps) for run in status.runs} == {("done", True)}
    assert all(status.shared.values())
