"""The protocol table: every deviation is found, and nothing else."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from dit_scaling.common.errors import UserError
from dit_scaling.config import load_study, parse_study
from dit_scaling.config.claims_settings import ProtocolSetting
from dit_scaling.config.study import Study
from dit_scaling.latents.manifest import Origin
from dit_scaling.paper.deviations import (
    ProtocolRow,
    compare_protocol,
    doubtful_reasons,
    hindrances,
    judge_protocol,
)
from report_study import CONFIG

PAPER: dict[str, Any] = {
    "study": "paper",
    "data": {
        "source": "image_folder",
        "path": "imagenet",
        "image_size": 256,
        "classes": 1000,
        "held_out": 50_000,
        "background": None,
        "exif_transpose": False,
    },
    "vae": {"source": "pretrained", "path": "stabilityai/sd-vae-ft-mse"},
    "variants": [f"DiT-{size}/{patch}" for size in ("S", "B", "L", "XL") for patch in (8, 4, 2)],
    "training": {"steps": 400_000},
    "sampling": {"labels": "random"},
    "metrics": {"extractor": {"kind": "inception", "weights": "weights"}},
}
IMAGENET = 1_281_167
ALWAYS = {"held-out images", "features of the distance"}
CONFIGS = Path(__file__).parents[2] / "config"

CHANGES = [
    ("training", "steps", 52_000, "training steps"),
    ("training", "batch_size", 64, "batch size"),
    ("training", "betas", [0.9, 0.95], "optimiser"),
    ("training", "learning_rate", 2e-4, "learning rate"),
    ("training", "warmup_steps", 500, "warm-up"),
    ("training", "weight_decay", 0.01, "weight decay"),
    ("training", "gradient_clip", 1.0, "gradient clipping"),
    ("training", "ema_decay", 0.999, "EMA of the weights"),
    ("training", "ema_ramp", True, "EMA of the weights"),
    ("training", "class_dropout_prob", 0.2, "class dropout"),
    ("training", "precision", "bfloat16", "precision"),
    ("training", "horizontal_flip", False, "horizontal flip"),
    ("diffusion", "schedule", "cosine", "noise schedule"),
    ("diffusion", "num_timesteps", 500, "noise schedule"),
    ("sampling", "steps", 100, "sampler"),
    ("sampling", "sampler", "dpm-solver", "sampler"),
    ("sampling", "sampler", "ddim", "sampler"),
    ("sampling", "guidance_scales", [1.5], "guidance scale"),
    ("sampling", "num_samples", 10_000, "samples per model"),
    ("sampling", "labels", "balanced", "labels of the samples"),
    ("vae", "path", "stabilityai/sd-vae-ft-ema", "VAE"),
    ("vae", "latent_channels", 16, "latent grid"),
    ("data", "classes", 100, "data"),
    ("data", "exif_transpose", True, "data"),
    ("data", "background", "white", "data"),
    ("latents", "source", "imported", "draws of the posterior"),
]


def study_with(section: str = "study", key: str = "", value: Any = None) -> Study:
    config = json.loads(json.dumps(PAPER))
    if key:
        config.setdefault(section, {})[key] = value
    return parse_study(config)


def deviations(rows: tuple[ProtocolRow, ...]) -> set[str]:
    return {row.setting for row in rows if row.deviates}


def test_the_papers_own_protocol_differs_in_evaluation_code_and_held_out_images_alone() -> None:
    assert deviations(compare_protocol(study_with(), IMAGENET)) == ALWAYS


@pytest.mark.parametrize(("section", "key", "value", "setting"), CHANGES)
def test_each_change_is_named(section: str, key: str, value: Any, setting: str) -> None:
    found = deviations(compare_protocol(study_with(section, key, value), IMAGENET))
    assert found == ALWAYS | {setting}


def test_every_deviation_says_what_it_means_and_shows_both_sides() -> None:
    for row in compare_protocol(parse_study(CONFIG), 5000):
        assert row.same or row.ours != row.paper
        assert row.same or row.meaning


def test_guidance_of_the_published_figures_is_the_papers() -> None:
    study = study_with("sampling", "guidance_scales", [1.0, 1.25, 1.5])
    assert deviations(compare_protocol(study, IMAGENET)) == ALWAYS


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_what_the_paper_does_not_say_is_neither_the_same_nor_a_deviation(precision: str) -> None:
    study = study_with("training", "precision", precision)
    rows = compare_protocol(study, IMAGENET)
    row = next(row for row in rows if row.setting == "precision")
    assert (row.same, row.known, row.deviates) == (False, False, False)
    assert "JAX on TPUs" in row.paper
    assert "without TF32" in row.paper
    assert "precision" not in hindrances(study, rows)
    idle = study.model_copy(update={"deviations": {"precision": "faster"}})
    assert "deviations: 'precision' has a reason, but the paper's is not known" in doubtful_reasons(idle, rows)


def test_images_held_out_are_a_deviation_wherever_something_is_trained() -> None:
    few = study_with("data", "held_out", 10_000)
    rows = compare_protocol(few, IMAGENET)
    (row,) = [row for row in rows if row.setting == "held-out images"]
    assert row.deviates
    assert row.ours == "10,000 not trained on, 0.8% of the images"
    assert "held-out images" not in hindrances(few, rows)
    many = study_with()
    assert "held-out images" in hindrances(many, compare_protocol(many, IMAGENET))
    released = load_study(CONFIGS / "dit-xl2-released.yaml")
    assert "held-out images" not in deviations(compare_protocol(released, IMAGENET))


def test_further_guidance_is_a_deviation_that_spoils_no_comparison() -> None:
    study = study_with("sampling", "guidance_scales", [1.0, 4.0])
    rows = compare_protocol(study, IMAGENET)
    assert "guidance scale" in deviations(rows)
    assert "guidance scale" not in hindrances(study, rows)
    guided = study_with("sampling", "guidance_scales", [4.0, 1.0])
    assert "guidance scale" in hindrances(guided, compare_protocol(guided, IMAGENET))


def test_imported_latents_are_drawn_as_they_came() -> None:
    study = study_with("latents", "source", "imported")
    drawn = Origin(layout="repa", log_variance=True, mirrored=False, each="mean and standard deviation")
    assert deviations(compare_protocol(study, IMAGENET, drawn)) == ALWAYS
    fixed = Origin(layout="fast-dit", log_variance=False, mirrored=False, each="one draw")
    rows = {row.setting: row for row in compare_protocol(study, IMAGENET, fixed)}
    row = rows["draws of the posterior"]
    assert (row.deviates, row.paper) == (True, "afresh at every step")
    assert row.ours == "the mean at every step (no log-variance in the imported latents: one draw)"
    assert deviations(tuple(rows.values())) == ALWAYS | {"draws of the posterior"}


def test_other_counts_of_images_are_other_data() -> None:
    for images in (None, 1_331_167):
        assert "data" in deviations(compare_protocol(study_with(), images))


def test_fewer_variants_are_deviations() -> None:
    config = {**PAPER, "variants": ["DiT-S/2", "DiT-B/2"]}
    assert {"sizes", "patches"} <= deviations(compare_protocol(parse_study(config), IMAGENET))


def test_status_goes_from_green_over_amber_to_red() -> None:
    same = ProtocolRow("batch size", "256", "256", True, "")
    other = ProtocolRow("batch size", "16", "256", False, "noisier")
    sound = parse_study({**PAPER, "variants": ["DiT-S/4", "DiT-S/2", "DiT-B/4", "DiT-B/2"]})
    assert judge_protocol(sound, [same]).level == "green"
    amber = judge_protocol(sound, [same, other])
    assert (amber.level, amber.doubts) == ("amber", ())
    assert amber.sentence.startswith("1 of 2 settings differ")
    red = judge_protocol(study_with("sampling", "guidance_scales", [1.5]), [same])
    assert red.level == "red"
    assert any("guidance_scales" in doubt for doubt in red.doubts)


def test_the_config_names_exactly_the_rows_of_the_table() -> None:
    """Two rows stand there only where they are not the paper's."""
    training = PAPER["training"] | {"objective": "flow", "parametrisation": "mup"}
    sampling = PAPER.get("sampling", {}) | {"sampler": "euler"}
    sizes = {"sizes": {"P": {"depth": 1, "hidden_size": 64, "num_heads": 1}}, "variants": ["DiT-P/2"]}
    own = parse_study(PAPER | sizes | {"training": training, "sampling": sampling})
    assert get_args(ProtocolSetting) == tuple(row.setting for row in compare_protocol(own, IMAGENET))
    papers = tuple(row.setting for row in compare_protocol(study_with(), IMAGENET))
    assert set(get_args(ProtocolSetting)) - set(papers) == {"objective", "parametrisation"}


@pytest.mark.parametrize("name", ["config.yaml", "shapes.yaml"])
def test_built_in_studies_give_a_reason_for_each_deviation(name: str) -> None:
    study = load_study(CONFIGS / name)
    rows = compare_protocol(study, 5000)
    assert doubtful_reasons(study, rows) == []
    assert all(bool(row.reason) == row.deviates for row in rows)
    assert "without a reason" not in judge_protocol(study, rows).sentence


def test_a_deviation_without_a_reason_and_a_reason_without_a_deviation_are_doubtful() -> None:
    reasons = {"features of the distance": "a test", "batch size": "no deviation"}
    study = parse_study({**PAPER, "training": {"steps": 52_000}, "deviations": reasons})
    rows = compare_protocol(study, IMAGENET)
    assert doubtful_reasons(study, rows) == [
        "deviations: 'held-out images', 'training steps' deviate from the paper without a reason",
        "deviations: 'batch size' has a reason, but is the paper's",
    ]
    assert "3 of 24 settings differ from the paper's (2 without a reason)" in judge_protocol(study, rows).sentence
    assert {row.setting: row.reason for row in rows if row.reason} == {"features of the distance": "a test"}


def test_a_reason_for_no_setting_is_refused() -> None:
    with pytest.raises(UserError, match=r"deviations\.batch_size"):
        parse_study({**PAPER, "deviations": {"batch_size": "a typo"}})
    with pytest.raises(UserError, match=r"deviations\.batch size"):
        parse_study({**PAPER, "deviations": {"batch size": ""}})
