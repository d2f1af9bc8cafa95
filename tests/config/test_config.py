import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from snakemake.utils import update_config

from dit_scaling.common.errors import UserError
from dit_scaling.config import Stages, load_study, parse_study
from dit_scaling.config.load import laid_over
from dit_scaling.config.renames import RENAMED
from dit_scaling.config.schema import schema_text, study_schema

ROOT = Path(__file__).parents[2]
EMBEDDED = ROOT / "config" / "config.yaml"


@pytest.fixture
def config() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(EMBEDDED.read_text())
    return loaded


def changed(config: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A copy of the config with the dotted key set; the value `...` removes it."""
    result = copy.deepcopy(config)
    *parents, last = key.split(".")
    section = result
    for parent in parents:
        section = section.setdefault(parent, {})
    if value is ...:
        del section[last]
    else:
        section[last] = value
    return result


def test_embedded_study_is_valid_and_without_doubts(config: dict[str, Any]) -> None:
    study = load_study(EMBEDDED)
    assert study.warnings() == []
    jsonschema.validate(config, study_schema())


def test_one_patch_is_no_doubt_of_a_study_that_asks_about_families() -> None:
    study = load_study(ROOT / "config" / "embedded-families.yaml")
    assert study.warnings() == []
    unasked = study.model_copy(update={"claims": study.claims.model_copy(update={"families": ()})})
    assert unasked.warnings() == ["variants: only one patch, claim 2 cannot be tested"]


def test_a_study_for_laws_is_not_doubted_for_claims_that_it_does_not_judge() -> None:
    assert load_study(EMBEDDED, ROOT / "config" / "embedded-isoflop.yaml").warnings() == []


def test_a_key_of_another_kind_is_not_suggested_for_itself(config: dict[str, Any]) -> None:
    vae = {"source": "pretrained", "path": "vae", "block_channels": [8]}
    with pytest.raises(UserError, match=r"block_channels: unknown key.*Another kind of this section has that key"):
        parse_study(config | {"vae": vae})


def test_committed_schema_is_the_generated_one() -> None:
    assert (ROOT / "config" / "study.schema.json").read_text() == schema_text()


def test_every_key_of_the_schema_that_is_not_obvious_by_name_is_described() -> None:
    properties = study_schema()["properties"]
    assert "results/NAME" in properties["study"]["description"]
    assert "seed" in properties["seed"]["description"].lower()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("typo", 1, ["typo", "unknown key"]),
        ("training.lerning_rate", 1.0, ["training.lerning_rate", "unknown key"]),
        ("training.learning_rate", "1e-4", ["training.learning_rate", "1e-4", "1.0e-4"]),
        ("training.learning_rate", -1.0, ["training.learning_rate", "greater than 0", "-1.0"]),
        ("training.learning_rate", float("nan"), ["training.learning_rate"]),
        ("training.steps", 0, ["training.steps", "0"]),
        ("training.steps", 10.5, ["training.steps", "10.5"]),
        ("training.steps", True, ["training.steps"]),
        ("training.steps", ..., ["training.steps", "required"]),
        ("training.milestones", [20000], ["training.milestones", "20000", "beyond the last step 10000"]),
        ("training.betas", [0.9, 1.0], ["training.betas.1", "less than 1", "1.0"]),
        ("training.warmup_steps", 10001, ["training.warmup_steps: 10001 is longer than training (10000 steps)"]),
        *(
            (key, float("inf"), [key, "finite"])
            for key in ("training.weight_decay", "training.learning_rate", "resources.save_minutes")
        ),
        ("vae.kl_weight", float("inf"), ["kl_weight", "finite"]),
        ("seed", 2**63, ["seed", "less than 9223372036854775808"]),
        ("training.seeds", [0, 2**64], ["training.seeds.1", "less than"]),
        ("sampling.guidance_scales", [1.0, float("inf")], ["sampling.guidance_scales", "finite"]),
        ("training.seeds", [], ["training.seeds"]),
        ("training.seeds", [1, 1], ["training.seeds", "twice"]),
        ("training.precision", "float16", ["training.precision", "float16"]),
        ("training.class_dropout_prob", 1.5, ["training.class_dropout_prob", "1.5"]),
        ("data.classes", 11, ["data.classes", "11", "10 labels"]),
        ("data.held_out", 5000, ["data.held_out", "5000"]),
        ("data.image_size", 28, ["data", "image_size", "28"]),
        ("data.source", "cifar", ["data", "cifar"]),
        ("vae.block_channels", [8, 16, 32, 32, 32, 32, 32], ["image_size", "32", "64"]),
        ("vae.block_channels", [8, 15], ["vae.norm_groups", "4"]),
        ("variants", ["DiT-Nano/3"], ["DiT-Nano/3", "8", "patch 3"]),
        ("variants", ["DiT-Giga/2"], ["Giga", "size table"]),
        ("variants", ["DiT-Nano-2"], ["variants.0", "DiT-Nano-2"]),
        ("variants", ["DiT-Nano/2", "DiT-Nano/2"], ["variants", "twice"]),
        ("variants", [], ["variants"]),
        ("variants", ["../etc/2"], ["variants.0"]),
        ("sizes.Nano.num_heads", 5, ["sizes.Nano", "32", "num_heads 5"]),
        ("sizes.Nano.hidden_size", 30, ["sizes.Nano", "30", "4"]),
        ("sizes.S", {"depth": 1, "hidden_size": 8, "num_heads": 1}, ["sizes.S", "shipped"]),
        ("unet_sizes", {"B": {"channels": 8}}, ["unet_sizes.B", "shipped"]),
        ("unet_sizes", {"Tiny": {"channels": 8, "layers": 2}}, ["unet_sizes.Tiny.layers", "unknown key"]),
        ("unet_sizes", {"Tiny": {"channels": 8, "multipliers": []}}, ["unet_sizes.Tiny.multipliers"]),
        ("variants", ["UNet-Nope"], ["'Nope' is not in the size table"]),
        ("variants", ["UNet-B/2"], ["variants", "UNet-B/2"]),
        ("sampling.steps", 2000, ["sampling.steps", "2000"]),
        ("sampling.steps", 1, ["sampling.steps", "at least 2", "1"]),
        ("sampling.steps", True, ["sampling.steps", "whole number", "True"]),
        ("sampling.steps", [], ["sampling.steps", "whole number", "[]"]),
        ("sampling.steps", [50, 0], ["sampling.steps", "at least 2", "[50, 0]"]),
        ("sampling.steps", [50, "25"], ["sampling.steps", "whole number", "[50, '25']"]),
        ("sampling.steps", [50, 25, 50], ["sampling.steps", "twice"]),
        ("sampling.steps", [50, 2000], ["sampling.steps", "2000"]),
        (
            "sampling.sampler",
            "plms",
            ["sampling.sampler", "plms", "'euler', 'heun' or 'euler-maruyama'"],
        ),
        ("sampling", {"sampler": "ddim", "steps": 600}, ["sampling.steps", "DDIM in 600 steps", "choose 500"]),
        ("diffusion.schedule", "square", ["diffusion.schedule", "square", "'linear', 'cosine' or 'zero-snr'"]),
        ("diffusion.num_timesteps", 20, ["diffusion.num_timesteps", "20", "linear", "21"]),
        ("diffusion.num_timesteps", 40, ["sampling.steps", "50 steps", "2 to 40"]),
        ("sampling.parts", 2000, ["sampling.parts", "2000"]),
        ("sampling.guidance_scales", [], ["sampling.guidance_scales"]),
        ("sampling.guidance_scales", [1.0, 1.5, 1.0], ["sampling.guidance_scales", "twice"]),
        ("sampling.num_samples", 3, ["sampling.num_samples", "3 images have no 3 neighbours"]),
        ("data.held_out", 3, ["data.held_out", "3 images have no 3 neighbours", "metrics.neighbours"]),
        ("metrics.kid_subset_size", 4000, ["metrics.kid_subset_size", "4000", "1000"]),
        ("metrics.extractor.kind", "clip", ["metrics.extractor", "clip"]),
        ("metrics.extractor", {"kind": "clean", "weights": "inception.pt"}, ["metrics.extractor", "clean"]),
        (
            "metrics.beside",
            [{"kind": "classifier", "steps": 10}],
            ["metrics.beside", "classifier is there twice"],
        ),
        ("claims.bottlenecks", {"DiT-S/2": "none"}, ["claims.bottlenecks", "DiT-S/2"]),
        ("claims.alpha", 0.0, ["claims.alpha"]),
        ("resources.device", "tpu", ["resources.device", "tpu"]),
        ("study", "../elsewhere", ["study", "../elsewhere"]),
        ("study", "a b; rm", ["study", "a b; rm"]),
    ],
)
def test_bad_values_are_refused_by_key_value_and_reason(
    config: dict[str, Any], key: str, value: Any, words: list[str]
) -> None:
    with pytest.raises(UserError) as caught:
        parse_study(changed(config, key, value))
    for word in words:
        assert word in str(caught.value)


OLD_KEYS: dict[str, tuple[str, Any]] = {
    "training.mirror": ("training.horizontal_flip", False),
    "training.label_dropout": ("training.class_dropout_prob", 0.2),
    "resources.ranks_per_node": ("resources.gpus_per_node", 2),
    "sizes.Nano.layers": ("sizes.Nano.depth", 2),
    "sizes.Nano.width": ("sizes.Nano.hidden_size", 64),
    "sizes.Nano.heads": ("sizes.Nano.num_heads", 2),
    "deviations.mirroring": ("deviations.horizontal flip", "digits"),
    "deviations.label dropout": ("deviations.class dropout", "few labels"),
}


@pytest.mark.parametrize("old", OLD_KEYS)
def test_an_old_key_is_answered_with_its_new_name(config: dict[str, Any], old: str) -> None:
    new, value = OLD_KEYS[old]
    modified = changed(config, old, value)
    if old.startswith("sizes"):
        modified = changed(modified, new, ...)
    with pytest.raises(UserError) as caught:
        parse_study(modified)
    assert str(caught.value) == f"config: {old}: is named {new} now, write that in its place"
    jsonschema.validate(changed(config, new, value), study_schema())


def test_every_rename_is_tested() -> None:
    assert {old.replace("*", "Nano") for old in RENAMED} == OLD_KEYS.keys()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("sampling.num_samples", 50, ["num_samples", "50", "64 feature dimensions"]),
        ("data.held_out", 10, ["data.held_out", "10"]),
        ("variants", ["DiT-Nano/2", "DiT-Nano/1"], ["claim 1"]),
        ("variants", ["DiT-Nano/2", "DiT-Mini/2"], ["claim 2"]),
        ("variants", ["DiT-Nano/4", "DiT-Nano/2", "DiT-Mini/2"], ["DiT-Nano/4", "bottlenecks"]),
        ("sampling.guidance_scales", [4.0], ["4.0", "no guidance"]),
        ("sampling.sampler", "ddim", ["sampling.sampler", "DDIM", "quick looks"]),
        ("sampling.sampler", "dpm-solver", ["sampling.sampler", "DPM-Solver++(2M)"]),
    ],
)
def test_doubtful_values_are_warned_of(config: dict[str, Any], key: str, value: Any, words: list[str]) -> None:
    modified = changed(config, key, value)
    modified["metrics"]["kid_subset_size"] = 20
    warnings = " ".join(parse_study(modified).warnings())
    for word in words:
        assert word in warnings


def test_an_ema_that_keeps_its_start_is_doubted(config: dict[str, Any]) -> None:
    for decay, doubted in ((0.998, False), (0.99999, True), (1.0, True)):
        modified = changed(changed(config, "training.ema_ramp", False), "training.ema_decay", decay)
        assert any(doubt.startswith("training.ema_decay") for doubt in parse_study(modified).warnings()) == doubted


def test_guidance_by_a_null_class_that_is_never_trained_is_doubted(config: dict[str, Any]) -> None:
    for scales, doubted in (([1.0], False), ([1.0, 4.0], True)):
        modified = changed(changed(config, "training.class_dropout_prob", 0.0), "sampling.guidance_scales", scales)
        assert any("null class" in doubt for doubt in parse_study(modified).warnings()) == doubted


def test_a_declared_bottleneck_is_no_doubt(config: dict[str, Any]) -> None:
    modified = changed(config, "variants", ["DiT-Nano/4", "DiT-Nano/2", "DiT-Mini/2"])
    modified["claims"] = {"bottlenecks": {"DiT-Nano/4": "a patch is as wide as the model"}}
    assert parse_study(modified).warnings() == []


@pytest.mark.parametrize("text", ["", "[1, 2]", "a: [", "just text"])
def test_files_that_are_no_study_are_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"broken\.yaml"):
        load_study(path)


def test_several_problems_are_told_at_once(config: dict[str, Any]) -> None:
    modified = changed(changed(config, "training.steps", 0), "typo", 1)
    with pytest.raises(UserError) as caught:
        parse_study(modified)
    assert "training.steps" in str(caught.value)
    assert "typo" in str(caught.value)


def mappings(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from("abc"), values, max_size=3)


CONFIGS = mappings(st.recursive(st.none() | st.integers() | st.lists(st.integers()), mappings, max_leaves=8))


@given(CONFIGS, CONFIGS)
def test_configs_are_laid_over_each_other_as_snakemake_lays_them(
    config: dict[str, Any], overlay: dict[str, Any]
) -> None:
    before = copy.deepcopy((config, overlay))
    merged = laid_over(config, overlay)
    assert (config, overlay) == before
    update_config(config, overlay)
    assert merged == config


def settings_texts(config: dict[str, Any], fingerprint: str = "digits") -> dict[str, str]:
    stages = Stages(parse_study(config), fingerprint)
    run = ("DiT-Nano-2", 0)
    return {
        "data": stages.data().canonical(),
        "vae": stages.vae().canonical(),
        "latents": stages.latents().canonical(),
        "train": stages.train(*run).canonical(),
        "sample": stages.sample(*run, 5000, 1.0).canonical(),
        "extractor": stages.extractor("classifier").canonical(),
        "reference": stages.reference("classifier").canonical(),
        "levels": stages.levels("classifier", ("fd",)).canonical(),
        "features": stages.features(*run, 5000, 1.0, "classifier").canonical(),
        "score": stages.score(*run, 5000, 1.0, ("fd",)).canonical(),
        "aggregate": stages.aggregate().canonical(),
    }


EVALUATION = {"sample", "features", "score", "aggregate"}
EVERYTHING = {"data", "vae", "latents", "train", "extractor", "reference", "levels", *EVALUATION}


@pytest.mark.parametrize(
    ("key", "value", "stages"),
    [
        ("resources.threads", 7, set()),
        ("resources.encode_batch", 7, set()),
        ("resources.save_minutes", 1.0, set()),
        ("claims.alpha", 0.01, {"aggregate"}),
        ("training.milestones", [1000, 2500], {"aggregate"}),
        ("training.steps", 6000, {"aggregate"}),
        ("training.learning_rate", 1.0e-3, {"train", *EVALUATION}),
        ("training.compile", True, {"train", *EVALUATION}),
        ("training.ema_decay", 0.9, {"train", *EVALUATION}),
        ("sampling.keep_samples", False, set()),
        ("sampling.steps", 25, EVALUATION),
        ("sampling.steps", [50], set()),
        ("sampling.steps", [50, 25], {"aggregate"}),
        ("sampling.sampler", "ddim", EVALUATION),
        ("diffusion", {"schedule": "linear", "num_timesteps": 1000}, set()),
        ("diffusion.schedule", "cosine", {"train", *EVALUATION}),
        ("diffusion.num_timesteps", 500, {"train", *EVALUATION}),
        ("metrics.neighbours", 5, {"levels", "score", "aggregate"}),
        ("metrics.beside", [{"kind": "dinov2", "weights": "vit.pth"}], {"score", "aggregate"}),
        ("metrics.extractor.steps", 10, EVERYTHING - {"data", "vae", "latents", "train", "sample"}),
        ("vae.steps", 10, EVERYTHING - {"data", "extractor"}),
        ("latents.shards", 3, EVERYTHING - {"data", "extractor", "vae"}),
        ("data.held_out", 400, EVERYTHING),
        ("seed", 1, EVERYTHING),
    ],
)
def test_a_setting_reaches_exactly_the_stages_it_changes(
    config: dict[str, Any], key: str, value: Any, stages: set[str]
) -> None:
    before, after = settings_texts(config), settings_texts(changed(config, key, value))
    assert {stage for stage in before if before[stage] != after[stage]} == stages


def test_a_metric_more_reaches_levels_and_score_alone(config: dict[str, Any]) -> None:
    stages, run = Stages(parse_study(config), "digits"), ("DiT-Nano-2", 0, 5000, 1.0)
    assert stages.score(*run, ("fd",)).digest != stages.score(*run, ("fd", "kid")).digest
    assert stages.levels("classifier", ("fd",)).digest != stages.levels("classifier", ("fd", "kid")).digest
    assert stages.score(*run, ("fd",)).features == stages.score(*run, ("fd", "kid")).features


def test_new_images_reach_every_stage(config: dict[str, Any]) -> None:
    before, after = settings_texts(config), settings_texts(config, "other images")
    assert {stage for stage in before if before[stage] != after[stage]} == EVERYTHING - {"aggregate"}


def test_order_of_keys_changes_nothing(config: dict[str, Any]) -> None:
    reordered = {key: config[key] for key in reversed(config)}
    reordered["training"] = {key: config["training"][key] for key in reversed(config["training"])}
    assert settings_texts(config) == settings_texts(reordered)


def test_stage_settings_survive_their_text(config: dict[str, Any]) -> None:
    settings = Stages(parse_study(config), "digits").train("DiT-Mini-1", 0)
    assert type(settings).parse(settings.canonical()) == settings
    assert settings.variant.name == "DiT-Mini/1"
    assert json.loads(settings.canonical())["recipe"]["learning_rate"] == 4.0e-3


def test_a_slug_that_is_no_variant_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="DiT-S-2"):
        Stages(parse_study(config), "digits").train("DiT-S-2", 0)


def test_reading_a_config_needs_no_torch() -> None:
    code = "import sys, dit_scaling.config, dit_scaling.cli, dit_scaling.claims; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
