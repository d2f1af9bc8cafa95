"""The table of a study: every column from its source, and latents that changed underneath are noticed."""

import json
from pathlib import Path

import pandas as pd
import pytest

from dit_scaling.claims import read_metrics_table
from dit_scaling.common.errors import UserError
from dit_scaling.common.files import sha256_file, write_json
from dit_scaling.config.stages import AggregateSettings
from dit_scaling.results.aggregate import AggregateFiles, AggregateInputs, add_losses, aggregate, judge
from report_study import ORIGIN, StudyFiles, make_study


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
    assert row["device"] == "AMD EPYC"
    assert (row["training_digest"], row["git_commit"], row["torch_version"]) == ("b" * 16, "abc1234", "2.9.0")
    assert row["train_seconds"] > 0


def test_held_out_losses_stand_beside_the_metrics_and_agreement_knows_them(
    study: StudyFiles,
) -> None:
    table = pd.read_parquet(study.inputs.table)
    row = table.iloc[-1]
    assert row["held_out_mse"] == pytest.approx(
        0.2 * (row["gflops"] * row["step"]) ** -0.05 * (1 + 0.001 * row["seed"])
    )
    assert table["held_out_mse"].notna().all()
    sentence = json.loads(study.inputs.claims.read_text())["agreement"]
    assert "held-out images, which needs no samples, orders the variants as fd_classifier64 does" in sentence
    assert "held_out_mse" in set(pd.read_csv(study.inputs.agreement)["metric"])
    # The verdicts do not know it.
    without, levels = table.drop(columns="held_out_mse"), json.loads(study.inputs.levels.read_text())
    assert judge(study.settings.study, without, levels)[0] == judge(study.settings.study, table, levels)[0]


def test_what_is_no_record_of_losses_is_refused(study: StudyFiles, tmp_path: Path) -> None:
    write_json(tmp_path / "losses.json", {"steps": {"last": {}}})
    table = pd.read_parquet(study.inputs.table)
    with pytest.raises(UserError, match=r"losses\.json is no record of losses.*--forcerun losses"):
        add_losses(table, {("DiT-Nano/2", 0): tmp_path / "losses.json"})


def test_verdicts_come_as_a_table_too(study: StudyFiles) -> None:
    table = pd.read_csv(study.inputs.claims.with_suffix(".csv"), dtype={"claim": str})
    claims = json.loads(study.inputs.claims.read_text())["claims"]
    assert table["claim"].tolist() == ["0", "1", "2", "3"]
    for (_, row), claim in zip(table.iterrows(), claims, strict=True):
        assert (row["verdict"], row["reason"]) == (claim["verdict"], claim["reason"])
        if claim["effect"] is not None:
            assert row["effect"] == pytest.approx(claim["effect"])
            assert row["low"] < row["effect"] < row["high"]


def test_csv_and_parquet_hold_the_same(study: StudyFiles) -> None:
    parquet, csv = study.inputs.table, study.inputs.table.with_suffix(".csv")
    pd.testing.assert_frame_equal(pd.read_parquet(parquet), pd.read_csv(csv), check_dtype=False)


def test_a_table_is_read_at_one_guidance_scale(study: StudyFiles, tmp_path: Path) -> None:
    table = pd.read_parquet(study.inputs.table)
    unguided = table[table["guidance_scale"] == 1.0]
    unguided.to_csv(tmp_path / "unguided.csv", index=False)
    assert len(read_metrics_table(tmp_path / "unguided.csv", study.metric)) == len(unguided)
    whole = read_metrics_table(study.inputs.table, study.metric)
    pd.testing.assert_frame_equal(whole, read_metrics_table(tmp_path / "unguided.csv", study.metric))
    guided = read_metrics_table(study.inputs.table, study.metric, 1.5)
    assert guided["guidance_scale"].unique().tolist() == [1.5]
    with pytest.raises(UserError, match=r"no rows at guidance scale 2\. There are 1, 1.5\."):
        read_metrics_table(study.inputs.table, study.metric, 2.0)


def test_verdicts_use_the_measured_ceiling(study: StudyFiles) -> None:
    table, levels = pd.read_parquet(study.inputs.table), json.loads(study.inputs.levels.read_text())
    written = json.loads(study.inputs.claims.read_text())
    report, agreement = judge(study.settings.study, table, levels)
    assert report.to_dict() | {"agreement": agreement.sentence} == written
    levels["levels"]["decoded_noise"][study.metric] = float(table[study.metric].min())
    report, agreement = judge(study.settings.study, table, levels)
    assert report["1"].verdict == report["2"].verdict == "inconclusive"
    assert all(metric.pairs_1 == 0 for metric in agreement.metrics)


LINE = '{"step": 50, "loss": 1, "mse": 1, "vb": 0, "gradient_norm": 1, "seconds": 2}\n'


def run_again(
    study: StudyFiles, folder: Path, *, manifest: str = "{}", metric: str | None = None, log: str = LINE
) -> None:
    """Aggregate one evaluation whose training saw the manifest ``{}``."""
    (folder / "manifest.json").write_text("{}")
    provenance = {"inputs": {"results/x/latents/manifest.json": sha256_file(folder / "manifest.json")}, **ORIGIN}
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
                {
                    "variant": small.variants[0],
                    "seed": 0,
                    "step": config.training.steps,
                    "sampler": "ddpm",
                    "guidance_scale": 1.0,
                },
            ),
            "study": small,
        }
    )
    files = AggregateFiles(
        *(folder / name for name in ("t.parquet", "t.csv", "c.csv", "claims.json", "a.csv", "v.csv"))
    )
    inputs = AggregateInputs(
        [folder / "metrics.json"],
        [folder / "metrics.jsonl"],
        [folder / "provenance.json"],
        folder / "manifest.json",
        study.inputs.levels,
    )
    aggregate(settings, inputs, files)


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
    with pytest.raises(UserError, match=r"metrics\.json has no fd_classifier64.*--forcerun score"):
        run_again(study, tmp_path, metric="fd_other")


def test_given_weights_have_rows_without_a_training(study: StudyFiles, tmp_path: Path) -> None:
    config = study.settings.study
    name = config.variants[0]
    given = config.model_copy(
        update={
            "variants": (name,),
            "checkpoints": {name: "weights.pt"},
            "training": config.training.model_copy(update={"seeds": (0,)}),
        }
    )
    settings = AggregateSettings(evaluations=given.evaluations, study=given)
    metric = json.loads(study.inputs.levels.read_text())["metric"]
    records = []
    for number, _ in enumerate(settings.evaluations):
        records.append(tmp_path / f"{number}.json")
        write_json(records[-1], {metric: 10.0 + number, f"{metric}_se": 1.0})
    names = ("metrics.parquet", "metrics.csv", "training.csv", "claims.json", "agreement.csv", "claims.csv")
    files = AggregateFiles(*(tmp_path / file for file in names))
    aggregate(settings, AggregateInputs(records, [], [], None, study.inputs.levels), files)
    table = pd.read_parquet(files.parquet)
    assert table[metric].tolist() == [10.0 + number for number in range(len(records))]
    assert set(table["step"]) == {config.training.steps}
    assert table["train_seconds"].isna().all()
    assert set(table["device"]) == {"none, weights were given"}
    assert pd.read_csv(files.curves).empty
