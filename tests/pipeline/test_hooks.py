"""What Snakemake does around the jobs: locks of a killed run, results of other settings, a report of what is there."""

import os
from pathlib import Path

import pytest

from dit_scaling.common.files import write_json
from dit_scaling.common.holder import Holder
from dit_scaling.config import load_study
from dit_scaling.data.assets import open_stages
from dit_scaling.results.run_control import RUNNER
from dit_scaling.results.status import read_status
from dit_scaling.results.status_text import describe_status
from pipeline import edited, snakemake
from tiny import RESULTS

LEVELS = f"{RESULTS}/reference/classifier/levels.json"


def test_results_of_other_settings_are_packed_by_no_report_and_withdrawn_by_the_next_run(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = edited(copied, {"claims.alpha": 0.01})
    packed = snakemake(copied, "--report", "old.zip", config=config)
    assert packed.returncode == 2
    assert f"what {RESULTS} reports was made for other settings" in packed.stdout + packed.stderr
    assert not (copied / "old.zip").exists()
    monkeypatch.chdir(copied)
    study, results = load_study(config), Path(RESULTS)
    assert "report of other settings" in describe_status(
        read_status(study, open_stages(study, results), results), results
    )

    whole = Path(LEVELS).read_bytes()
    Path(LEVELS).write_bytes(whole[:20] + bytes([whole[20] ^ 1]) + whole[21:])
    kill_a_run()
    failed = snakemake(copied, "--cores", "2", config=config)
    said = failed.stdout + failed.stderr
    assert failed.returncode == 1
    assert f"The lock of process {os.getpid()}, which ran {RESULTS} here and is gone, is removed" in said
    assert "they are moved to results/tiny/withdrawn" in said
    assert "Failed: results/tiny/metrics.parquet (aggregate): " in said
    assert "LockException" not in said
    assert not (results / "report.html").exists()
    assert (results / "withdrawn" / "report.html").exists()
    words = "levels.json is not as the job that made it left it"
    assert words in (results / "partial" / "report.html").read_text()

    Path(LEVELS).write_bytes(whole)
    mended = snakemake(copied, "--cores", "2", config=config)
    assert mended.returncode == 0, mended.stderr
    assert (results / "report.html").exists()
    assert not (results / "partial").exists()


def kill_a_run() -> None:
    """Leave what a Snakemake leaves that was killed while it ran the study."""
    locks = Path(".snakemake/locks")
    locks.mkdir(exist_ok=True)
    for name in ("0.input.lock", "0.output.lock"):
        (locks / name).write_text(f"{RESULTS}/metrics.parquet\n{RESULTS}/report.html\n")
    write_json(Path(RESULTS, RUNNER), Holder.here().model_copy(update={"started": 1.0}).model_dump())
