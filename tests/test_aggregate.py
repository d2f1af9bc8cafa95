"""The table of a study: every column from its source, and latents that changed underneath are noticed."""

import json
from pathlib import Path

import pandas as pd
import pytest

from dit_scaling.aggregate import AggregateFiles, aggregate, judge
from dit_scaling.claims import read_metrics_table
from dit_scaling.config.stages import AggregateSettings
from dit_scaling.errors import UserError
from dit_scaling.files import sha256_file, write_json
from report_study import StudyFiles, make_study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyFiles:
    return make_study(tmp_path_factory.mktemp("study"), seeds=(0, 1))


def test_rows_stand_in_the_configs_order_with_counts_in_closed_form(study: StudyFiles) -> None:
    table, config = pd.read_parquet(study.inputs.table), study.settings.study
    last = table[(table["step"] == config.training.steps) & (table["guidance_scale"] == 1.0)]
    expected = [(name, seed) for name in config.variants for seed in (0, 1)]
    assert list(zip(last["variant"], last["seed"], strict=True)) == expected
    row = last.iloc[0]
    images = config.training.steps * config.training.batch_size
    assert row["images_seen"] == images
    assert row["train_gflops"] == pytest.approx(3 * row["gflops"] * images)
    assert row["tokens"] == (config.latent_size // row["patch"]) ** 2
    assert row["device"] == "cpu"
    assert row["train_seconds"] > 0


def test_csv_and_parquet_hold_the_same(study: StudyFiles) -> None:
    parquet, csv = study.inputs.table, study.inputs.table.with_suffix(".csv")
    pd.testing.assert_frame_equal(pd.read_parquet(parquet), pd.read_csv(csv), check_dtype=False)


def test_the_claims_command_reads_one_protocol_and_refuses_two(study: StudyFiles, tmp_path: Path) -> None:
    table = pd.read_parquet(study.inputs.table)
    unguided = table[table["guidance_scale"] == 1.0]
    unguided.to_csv(tmp_path / "unguided.csv", index=False)
    assert len(read_metrics_table(tmp_path / "unguided.csv", study.metric)) == len(unguided)
    with pytest.raises(UserError, match="guidance_scale"):
        read_metrics_table(study.inputs.table, study.metric)


def test_verdicts_use_the_measured_ceiling(study: StudyFiles) -> None:
    table, lines = pd.read_parquet(study.inputs.table), json.loads(study.inputs.lines.read_text())
    written = json.loads(study.inputs.claims.read_text())
    assert judge(study.settings.study, table, lines) == written
    lines["lines"]["decoded_noise"][study.metric] = float(table[study.metric].min())
    verdicts = {claim["claim"]: claim["verdict"] for claim in judge(study.settings.study, table, lines)["claims"]}
    assert verdicts["1"] == verdicts["2"] == "inconclusive"


LINE = '{"step": 50, "loss": 1, "mse": 1, "vb": 0, "gradient_norm": 1, "seconds": 2}\n'


def run_again(
    study: StudyFiles, folder: Path, *, manifest: str = "{}", metric: str | None = None, log: str = LINE
) -> None:
    """Aggregate one evaluation whose training saw the manifest ``{}``."""
    (folder / "manifest.json").write_text("{}")
    provenance = {"inputs": {"results/x/latents/manifest.json": sha256_file(folder / "manifest.json")}, "device": "cpu"}
    write_json(folder / "provenance.json", provenance)
    (folder / "manifest.json").write_text(manifest)
    write_json(folder / "metrics.json", {metric or study.metric: 3.0, "n_samples": 10})
    (folder / "metrics.jsonl").write_text(log)
    config = study.settings.study
    small = config.model_copy(
        update={
            "variants": config.variants[:1],
            "training": config.training.model_copy(update={"seeds": (0,), "milestones": ()}),
        }
    )
    settings = AggregateSettings.model_validate(
        {
            "evaluations": (
                {"variant": small.variants[0], "seed": 0, "step": config.training.steps, "guidance_scale": 1.0},
            ),
            "study": small,
        }
    )
    files = AggregateFiles(*(folder / name for name in ("t.parquet", "t.csv", "c.csv", "claims.json")))
    aggregate(
        settings,
        [folder / "metrics.json"],
        [folder / "metrics.jsonl"],
        [folder / "provenance.json"],
        folder / "manifest.json",
        study.inputs.lines,
        files,
    )


def test_one_evaluation_alone_is_a_table_too(study: StudyFiles, tmp_path: Path) -> None:
    run_again(study, tmp_path)
    assert pd.read_csv(tmp_path / "t.csv")[study.metric].tolist() == [3.0]
    verdicts = {claim["verdict"] for claim in json.loads((tmp_path / "claims.json").read_text())["claims"]}
    assert verdicts == {"not testable"}


def test_a_run_too_short_for_a_log_line_has_no_training_time(study: StudyFiles, tmp_path: Path) -> None:
    run_again(study, tmp_path, log="")
    assert pd.read_csv(tmp_path / "t.csv")["train_seconds"].isna().all()


def test_latents_that_changed_under_a_finished_training_are_noticed(study: StudyFiles, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"provenance\.json.*--forcerun train"):
        run_again(study, tmp_path, manifest='{"other": 1}')
    assert not (tmp_path / "t.csv").exists()


def test_a_record_of_other_features_is_refused(study: StudyFiles, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"metrics\.json has no fd_classifier64.*--forcerun fid"):
        run_again(study, tmp_path, metric="fd_other")
