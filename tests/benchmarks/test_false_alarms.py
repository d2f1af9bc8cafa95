"""Healthy runs of the embedded study are never called broken: the record of all seeds, and two of them run again."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from dit_scaling.config import load_study
from dit_scaling.variants import count_gflops
from pipeline import ROOT

RECORD = ROOT / "docs" / "false-alarms.csv"
SEEDS = 20


def read_record(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def assert_no_false_alarm(rows: list[dict[str, str]], seeds: int) -> None:
    """Both variants, all seeds, every gate; the runs stopped at a tenth of their budget are undertrained."""
    study = load_study(ROOT / "config" / "config.yaml")
    steps = study.training.steps
    gates = {(str(steps // 10), str(steps // 10)), *((str(step), str(steps)) for step in study.training.stops)}
    cost = {
        name: count_gflops(study.variant(name), study.latent_size, study.vae.latent_channels) for name in study.variants
    }
    ascending = sorted(study.variants, key=cost.__getitem__)
    judged = {(row["variant"], row["seed"], row["step"], row["budget"]) for row in rows}
    chosen = (ascending[0], ascending[len(ascending) // 2])
    assert judged == {(name, str(seed), *gate) for name in chosen for seed in range(seeds) for gate in gates}
    assert [row["reason"] for row in rows if row["verdict"] == "broken"] == []
    early = {row["verdict"] for row in rows if row["budget"] != str(steps)}
    assert early == {"undertrained for this budget"}
    assert all(float(row["loss against its past"]) > 0 for row in rows)


def test_no_false_alarm_is_on_record() -> None:
    assert_no_false_alarm(read_record(RECORD), SEEDS)


@pytest.mark.slow
def test_two_healthy_runs_raise_no_alarm(tmp_path: Path) -> None:
    script = [sys.executable, str(ROOT / "benchmarks" / "false_alarms.py"), "--seeds", "1"]
    script += ["--config", str(ROOT / "config" / "config.yaml"), "--record", "record.csv"]
    run = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert_no_false_alarm(read_record(tmp_path / "record.csv"), 1)
