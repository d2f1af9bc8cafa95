"""A study for scaling laws, end to end on the tiny study's images: one job per run, nothing sampled, a table."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

from dit_scaling.config import load_study
from dit_scaling.data.assets import open_stages
from dit_scaling.results.status import read_status
from pipeline import TINY, plan, snakemake

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
    assert jobs.keys() == {"data", "vae", "encode_shard", "latents", "preflight", "train_and_measure", "loss_table"}
    assert len(jobs["train_and_measure"]) == 2


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
