"""The model card of an exported checkpoint, read back by huggingface_hub."""

import shutil
from pathlib import Path

import pytest
from huggingface_hub import EvalResult, ModelCard
from typer.testing import CliRunner

from dit_scaling.cli import app
from dit_scaling.common.errors import UserError
from dit_scaling.common.files import read_json
from dit_scaling.config import load_study
from dit_scaling.models.checkpoints import read_header
from dit_scaling.paper.deviations import compare_protocol
from dit_scaling.results.model_card import Given, find_study, write_card
from jobs import EVALUATION, RESULTS, STEP, SmallStudy


@pytest.fixture
def checkpoint(small_study: SmallStudy) -> Path:
    return small_study.folder / STEP / "ema.safetensors"


NOTHING = Given()


def card_of(checkpoint: Path, given: Given = NOTHING) -> ModelCard:
    return ModelCard(write_card(checkpoint, read_header(checkpoint), given))


def test_results_are_entries_with_spread_and_number_of_samples(checkpoint: Path, small_study: SmallStudy) -> None:
    card = card_of(checkpoint, Given(dataset="someone/shades", data="forty shades"))
    record = read_json(small_study.folder / EVALUATION / "metrics.json")
    entries = {entry.metric_type: entry for entry in card.data.eval_results}
    assert all(isinstance(entry, EvalResult) for entry in entries.values())
    assert {"fd_classifier4", "kid_classifier4", "precision_classifier4"} <= set(entries)
    for name, entry in entries.items():
        assert entry.metric_value == pytest.approx(record[name])
        assert entry.metric_args["num_samples"] == record["n_samples"] == 12
        assert "N = 12" in entry.metric_name
        assert (entry.dataset_name, entry.dataset_type) == ("forty shades", "someone/shades")
    distance = entries["fd_classifier4"]
    assert distance.metric_args["standard_error_over_samples"] == pytest.approx(record["fd_classifier4_se"])
    assert f"± {record['fd_classifier4_se']:.2g}" in distance.metric_name
    assert "FID" not in distance.metric_name
    assert f"| {record['fd_classifier4']:.5g} |" in card.text


def test_licence_and_data_are_the_users_words_or_said_to_be_missing(checkpoint: Path) -> None:
    given = card_of(checkpoint, Given(licence="cc-by-4.0", data="Photos that I took.", dataset="me/photos"))
    assert (given.data.license, given.data.datasets) == ("cc-by-4.0", "me/photos")
    assert "## Training data\n\nPhotos that I took.\n" in given.text
    assert "## Licence\n\ncc-by-4.0\n" in given.text
    without = card_of(checkpoint)
    assert without.data.license is None
    assert "## Licence\n\nNot stated" in without.text
    assert "image_folder 'images': 2 classes, 16 x 16 pixels" in without.text


def test_every_deviation_of_the_protocol_has_its_row(checkpoint: Path, small_study: SmallStudy) -> None:
    study = load_study(small_study.folder / "study.yaml")
    text = card_of(checkpoint).text.partition("## Protocol")[2]
    rows = compare_protocol(study, 40)
    for row in rows:
        assert (f"| {row.setting} |" in text) == row.deviates, row.setting
    assert f"Of {len(rows)} settings {sum(row.deviates for row in rows)} differ" in text


def test_a_checkpoint_of_no_study_has_a_card_without_results(checkpoint: Path, tmp_path: Path) -> None:
    alone = shutil.copy(checkpoint, tmp_path / "ema.safetensors")
    card = card_of(alone)
    assert card.data.eval_results is None
    assert "None are known of these weights." in card.text
    assert "the checkpoint lay in no finished study" in card.text
    assert "2 classes, after 4 steps of training" in card.text


def test_results_of_other_samplers_and_numbers_of_steps_say_so(
    checkpoint: Path, small_study: SmallStudy, tmp_path: Path
) -> None:
    alone = shutil.copy(checkpoint, tmp_path / "ema.safetensors")
    folder = tmp_path / "ddim" / "steps-16" / "guidance-1.5"
    folder.mkdir(parents=True)
    shutil.copy(small_study.folder / EVALUATION / "metrics.json", folder)
    card = card_of(alone)
    assert {entry.metric_args["sampling"] for entry in card.data.eval_results} == {"ddim, 16 steps"}
    assert all("guidance 1.5, ddim, 16 steps (" in entry.metric_name for entry in card.data.eval_results)
    assert "| 1.5, ddim, 16 steps |" in card.text


def test_weights_that_are_not_scored_have_no_results(checkpoint: Path) -> None:
    assert card_of(checkpoint.with_name("raw.safetensors")).data.eval_results is None


def test_a_damaged_record_is_named(small_study: SmallStudy, tmp_path: Path) -> None:
    for name in ("claims.json", "provenance.json"):
        shutil.copy(small_study.folder / RESULTS / name, tmp_path / name)
    (tmp_path / "provenance.json").write_text('{"settings": {"study": 3}}')
    with pytest.raises(UserError, match=r"provenance\.json is of no study"):
        find_study(tmp_path / "step" / "ema.safetensors")


def test_export_writes_it_beside_the_pipeline(checkpoint: Path, tmp_path: Path) -> None:
    arguments = ["export", checkpoint, tmp_path / "pipeline", "--licence", "mit", "--data", "shades"]
    answer = CliRunner().invoke(app, list(map(str, arguments)))
    assert answer.exit_code == 0, answer.exception
    card = ModelCard.load(tmp_path / "pipeline" / "README.md")
    assert (card.data.license, card.data.library_name, card.data.model_name) == ("mit", "diffusers", "DiT-Nano/2")
    assert (tmp_path / "pipeline" / "model_index.json").is_file()
