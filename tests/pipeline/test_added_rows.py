"""CONTRIBUTING's recipes at once: a size, a schedule, a sampler and a metric go from their rows to the report."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from pipeline import ROOT, edited, snakemake, warm_python

ROWS = Path(__file__).with_name("added_rows.py")
CHANGES = {
    "variants": ["DiT-Added/2"],
    "diffusion": {"schedule": "added"},
    "sampling.sampler": "added",
    "training.milestones": [],
}
SCHEMA = "from dit_scaling.config.schema import schema_text; print(schema_text(), end='')"


@pytest.mark.slow
def test_added_rows_go_through_preflight_training_sampling_score_and_report(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    for name in ("rules", "workflow", "config", "profiles", "envs"):
        shutil.copytree(ROOT / name, clone / name)
    shutil.copy(ROOT / "Snakefile", clone)
    schema = warm_python().run(["-c", SCHEMA], tmp_path, {"WARM_PYTHON_STARTUP": str(ROWS)})  # make schema
    assert '"added"' in schema.stdout, schema.stderr
    (clone / "config" / "study.schema.json").write_text(schema.stdout)

    config = edited(tmp_path, CHANGES)
    run = snakemake(tmp_path, "--cores", "2", "--snakefile", str(clone / "Snakefile"), config=config, startup=ROWS)
    assert run.returncode == 0, run.stderr
    results = tmp_path / "results" / "tiny"
    table = pd.read_parquet(results / "metrics.parquet")
    assert set(table["variant"]) == {"DiT-Added/2"}
    assert (table["sampler"] == "added").all()
    assert (table["added_distance_classifier16"] > 0).all()
    page = (results / "report.html").read_text()
    for told in ("DiT-Added/2", "an added schedule", "an added sampler", "added distance"):
        assert told in page, told
