"""A study with further numbers of sampling steps, through the rules and scripts of its jobs."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from jobs import EVALUATION, FIRST_OUTPUT, RESULTS, STEP, SmallStudy, job_of, run_job

FURTHER = f"{STEP}/steps-3/guidance-1.0"
WORKERS = ("sample_part", "extract_features", "score_samples")


@pytest.fixture
def listed(small_study: SmallStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The finished small study, whose config then asks for another number of steps; the working directory."""
    folder = shutil.copytree(small_study.folder, tmp_path / "study")
    monkeypatch.chdir(folder)
    config = yaml.safe_load(Path("study.yaml").read_text())
    config["sampling"]["steps"] = [config["sampling"]["steps"], 3]
    Path("study.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return folder


@pytest.mark.slow
def test_their_jobs_make_a_table_and_a_figure_and_leave_the_rest_as_it_was(listed: Path) -> None:
    before = {name: (listed / RESULTS / name).read_bytes() for name in ("metrics.csv", "claims.json", "claims.csv")}
    own = {path: path.read_bytes() for path in Path(EVALUATION).rglob("*") if path.is_file()}
    for script in WORKERS:
        assert run_job(script, job_of(script, FIRST_OUTPUT[script].replace(EVALUATION, FURTHER))) == 0
    record = json.loads(Path(FURTHER, "samples", "part-00000.provenance.json").read_text())
    assert record["settings"]["steps"] == 3
    assert Path(RESULTS, "logs", "sample", "steps-3", "DiT-Nano-2_seed-0_step-4_guidance-1.0_part-00000.log").is_file()
    assert run_job("aggregate", job_of("aggregate")) == 0
    assert run_job("figures", job_of("figures")) == 0
    assert {name: (listed / RESULTS / name).read_bytes() for name in before} == before
    assert {path: path.read_bytes() for path in own} == own
    further = pd.read_csv(Path(RESULTS, "sampling-steps.csv"))
    assert further["sampling_steps"].tolist() == [3]
    drawn = pd.read_csv(Path(RESULTS, "figures", "sampling-compute.csv"))
    assert sorted(drawn["evaluations"].dropna()) == [2, 3]
