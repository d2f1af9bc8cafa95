"""Weights as others save them: training checkpoints, prefixes of wrappers, label tables, exported pipelines."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner

from dit_scaling.cli import app
from dit_scaling.common.errors import UserError
from dit_scaling.data.assets import locate_file
from dit_scaling.diffusion.process import AnyProcess, DiffusionSettings, FlowSettings
from dit_scaling.models import DiT, create_model
from dit_scaling.models.checkpoints import (
    CheckpointHeader,
    has_null_class,
    load_checkpoint,
    load_model,
    read_header,
    save_model,
)
from dit_scaling.models.export import export_pipeline, load_pipeline
from dit_scaling.variants import SIZES, Size, Variant
from oracles import randomize

TINY = Variant(size="Tiny", patch=2, depth=2, hidden_size=32, num_heads=2)
CLASSES = 3
TABLE = "y_embedder.embedding_table.weight"

pytestmark = pytest.mark.usefixtures("tiny_is_shipped")


@pytest.fixture
def tiny_is_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "Tiny", Size(depth=2, hidden_size=32, num_heads=2))


def make(seed: int, num_classes: int = CLASSES) -> DiT:
    torch.manual_seed(seed)
    model = create_model(TINY, input_size=8, num_classes=num_classes, in_channels=2)
    assert isinstance(model, DiT)
    return randomize(model)


@pytest.fixture
def ema() -> DiT:
    return make(1)


@pytest.fixture
def raw() -> DiT:
    return make(2)


def same(one: DiT, other: DiT) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def train_py(ema: DiT, raw: DiT, **args: Any) -> dict[str, Any]:
    """What DiT's train.py saves, its optimiser's state included."""
    optimiser = torch.optim.AdamW(raw.parameters())
    namespace = argparse.Namespace(model="DiT-XL/2", num_classes=CLASSES, results_dir="results", **args)
    return {"model": raw.state_dict(), "ema": ema.state_dict(), "opt": optimiser.state_dict(), "args": namespace}


@pytest.mark.parametrize("legacy", [False, True])
def test_a_checkpoint_of_train_py_is_read(
    ema: DiT, raw: DiT, tmp_path: Path, caplog: pytest.LogCaptureFixture, legacy: bool
) -> None:
    path = tmp_path / "0052000.pt"
    torch.save(train_py(ema, raw), path, _use_new_zipfile_serialization=not legacy)
    assert same(load_model(path), ema)
    assert "weights under 'ema' are taken; it also holds args, model, opt" in caplog.text
    assert same(load_model(path, "model"), raw)
    assert "weights under 'model' are taken; it also holds args, ema, opt" in caplog.text
    assert read_header(path).num_classes == CLASSES


def test_weights_that_are_not_there_are_missed(ema: DiT, raw: DiT, tmp_path: Path, caplog: Any) -> None:
    torch.save({"state_dict": raw.state_dict(), "epoch": 3}, tmp_path / "raw.pt")
    assert same(load_model(tmp_path / "raw.pt"), raw)
    assert "under 'state_dict' are taken" in caplog.text
    torch.save({"ema": ema.state_dict(), "epoch": 3}, tmp_path / "ema.pt")
    with pytest.raises(UserError, match=r"has no 'model': it holds the weights under 'ema' alone"):
        load_model(tmp_path / "ema.pt", "model")


def test_loaded_weights_are_none_of_the_files(ema: DiT, raw: DiT, tmp_path: Path) -> None:
    """The file may be replaced while the model is used."""
    path = tmp_path / "0052000.pt"
    torch.save(train_py(ema, raw), path)
    loaded = load_model(path)
    path.write_bytes(b"")
    assert same(loaded, ema)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "net.dit."])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_prefixes_of_wrappers_are_taken_off(ema: DiT, tmp_path: Path, prefix: str, suffix: str, caplog: Any) -> None:
    state = {prefix + key: tensor for key, tensor in ema.state_dict().items()}
    path = tmp_path / f"wrapped{suffix}"
    torch.save(state, path) if suffix == ".pt" else save_file(state, path)
    assert same(load_model(path), ema)
    rest = prefix.replace("_orig_mod.", "")
    assert (f"without the prefix '{rest}'" in caplog.text) == bool(rest)
    assert ("'_orig_mod.' is taken out" in caplog.text) == ("_orig_mod." in prefix)


@pytest.mark.parametrize("wrapper", ["_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."])
def test_wrappers_of_single_blocks_are_taken_out(ema: DiT, tmp_path: Path, wrapper: str, caplog: Any) -> None:
    state = {key.replace("blocks.0.", f"blocks.0.{wrapper}"): tensor for key, tensor in ema.state_dict().items()}
    torch.save(state, tmp_path / "wrapped.pt")
    assert same(load_model(tmp_path / "wrapped.pt"), ema)
    assert f"'{wrapper}' is taken out of its weights' names" in caplog.text


def test_weights_that_wrappers_name_twice_are_refused(ema: DiT, tmp_path: Path) -> None:
    state = ema.state_dict() | {"blocks.0._orig_mod.attn.qkv.bias": torch.zeros(96)}
    torch.save(state, tmp_path / "twice.pt")
    with pytest.raises(UserError, match="holds weights twice, with '_orig_mod\\.' and without"):
        load_model(tmp_path / "twice.pt")


@pytest.mark.parametrize(
    ("averaged", "plain"),
    [("ema_0.9999", "model"), ("params_ema", "params"), ("generator_ema", "generator"), ("model_ema", "state_dict")],
)
def test_averages_are_told_by_their_name(ema: DiT, raw: DiT, tmp_path: Path, averaged: str, plain: str) -> None:
    content = {plain: raw.state_dict(), averaged: ema.state_dict(), "ema_decay": 0.9999, "epoch": 3}
    torch.save(content, tmp_path / "both.pt")
    assert same(load_model(tmp_path / "both.pt"), ema)
    assert same(load_model(tmp_path / "both.pt", "model"), raw)
    torch.save(content | {"other_ema": ema.state_dict()}, tmp_path / "three.pt")
    with pytest.raises(UserError, match=f"has several 'ema': it holds weights under '{averaged}' and 'other_ema'"):
        load_model(tmp_path / "three.pt")


def test_averages_that_are_no_state_dict_are_not_passed_over(ema: DiT, raw: DiT, tmp_path: Path) -> None:
    path = tmp_path / "shadow.pt"
    torch.save({"model": raw.state_dict(), "ema": {"decay": 0.9, "shadow": list(ema.state_dict().values())}}, path)
    with pytest.raises(UserError, match=r"holds under 'ema' is no state dict of a DiT\..*--weights model"):
        load_model(path)
    assert same(load_model(path, "model"), raw)
    torch.save({"model": raw.state_dict(), "ema_decay": 0.9999, "ema": None}, path)
    assert same(load_model(path), raw)


@pytest.mark.parametrize("beside", ["n_averaged", "vae.encoder.conv_in.weight", "initted"])
def test_what_lies_beside_prefixed_weights_is_left_out_and_named(
    ema: DiT, tmp_path: Path, beside: str, caplog: Any
) -> None:
    state = {f"module.{key}": tensor for key, tensor in ema.state_dict().items()}
    torch.save({beside: torch.tensor(3)} | state, tmp_path / "swa.pt")
    assert same(load_model(tmp_path / "swa.pt"), ema)
    assert f"what is beside them is left out: {beside.partition('.')[0]}" in caplog.text


def test_values_beside_weights_are_read(ema: DiT, raw: DiT, tmp_path: Path) -> None:
    """What scripts keep there: paths among the arguments, numpy's numbers and the state of its random numbers."""
    random = np.random.RandomState(0).get_state()
    beside = {"best": np.float64(3.5), "flag": np.bool_(True), "random": random, "name": np.str_("a")}
    torch.save(train_py(ema, raw, data_path=tmp_path) | beside, tmp_path / "values.pt")
    assert same(load_model(tmp_path / "values.pt"), ema)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_files_that_are_no_weights_are_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    for content, words in (
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "a pointer of Git LFS"),
        (b"\n<!DOCTYPE html><html>404</html>", "a web page"),
        (b"hello", "cannot be read as a checkpoint"),
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=words) as error:
            load_model(path)
        assert "weights_only" not in str(error.value)
    with pytest.raises(UserError, match="is a folder without the weights"):
        load_model(tmp_path)


def test_averages_beside_raw_weights_are_told_by_their_prefix(ema: DiT, raw: DiT, tmp_path: Path) -> None:
    state: dict[str, Tensor] = {f"ema_model.{key}": tensor for key, tensor in ema.state_dict().items()}
    state |= {f"model.{key}": tensor for key, tensor in raw.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 1}, tmp_path / "both.pt")
    assert same(load_model(tmp_path / "both.pt"), ema)
    assert same(load_model(tmp_path / "both.pt", "model"), raw)
    state |= {f"teacher.{key}": tensor for key, tensor in raw.state_dict().items()}
    torch.save(state, tmp_path / "three.pt")
    with pytest.raises(UserError, match=r"holds several models, under ema_model\., model\., teacher\."):
        load_model(tmp_path / "three.pt", "model")


# Label tables


def without_null_class(model: DiT) -> dict[str, Tensor]:
    state = model.state_dict()
    return state | {TABLE: state[TABLE][:-1].clone()}


def test_a_table_of_1000_rows_needs_the_number_of_classes(tmp_path: Path) -> None:
    model = make(3, num_classes=1000)
    torch.save(without_null_class(model), tmp_path / "open.pt")
    for read in (load_model, read_header):
        with pytest.raises(
            UserError, match=r"1,000 rows. These are 999 classes and a null class, or 1,000 .*num_classes"
        ):
            read(tmp_path / "open.pt")
    assert has_null_class(load_model(tmp_path / "open.pt", num_classes=999))
    assert load_model(tmp_path / "open.pt", num_classes=999).num_classes == 999
    alone = load_model(tmp_path / "open.pt", num_classes=1000)
    assert (alone.num_classes, has_null_class(alone)) == (1000, False)
    inputs = torch.randn(1, 2, 8, 8), torch.tensor([5])
    assert torch.equal(alone(*inputs, torch.tensor([7])), model(*inputs, torch.tensor([7])))
    assert alone(*inputs, torch.tensor([1000])).isnan().any()


def test_what_a_training_script_states_decides(ema: DiT, tmp_path: Path) -> None:
    torch.save(train_py(ema, ema) | {"ema": without_null_class(ema)}, tmp_path / "stated.pt")
    loaded = load_model(tmp_path / "stated.pt")
    assert (loaded.num_classes, has_null_class(loaded)) == (CLASSES, False)
    torch.save(ema.state_dict(), tmp_path / "plain.pt")
    with pytest.raises(UserError, match="label table has 4 rows, not 10 and one for the null class"):
        load_model(tmp_path / "plain.pt", num_classes=10)


# Exported pipelines


@pytest.fixture
def exported(ema: DiT, toy_vae: Path, tmp_path: Path) -> Path:
    torch.save(ema.state_dict(), tmp_path / "tiny.pt")
    export_pipeline(tmp_path / "tiny.pt", tmp_path / "pipeline", str(toy_vae), ["ant", "bee", "cat"])
    return tmp_path / "pipeline"


def test_an_exported_pipeline_is_read_back(ema: DiT, exported: Path) -> None:
    for path in (exported, exported / "transformer", exported / "transformer/diffusion_pytorch_model.safetensors"):
        assert same(load_model(path), ema)
        assert read_header(path).variant == TINY
        assert locate_file(str(path), Path("cache"), "checkpoints").is_file()


def test_sizes_of_ones_own_come_back_with_their_heads(toy_vae: Path, tmp_path: Path) -> None:
    variant = Variant(size="Own", patch=4, depth=1, hidden_size=24, num_heads=3)
    model = randomize(create_model(variant, input_size=8, num_classes=CLASSES, in_channels=2))
    assert isinstance(model, DiT)
    save_model(tmp_path / "ema.safetensors", model, CheckpointHeader(variant, 8, CLASSES, 2, "", 1, {}))
    export_pipeline(tmp_path / "ema.safetensors", tmp_path / "pipeline", str(toy_vae))
    loaded = load_model(tmp_path / "pipeline")
    assert isinstance(loaded, DiT)
    assert same(loaded, model)
    assert (loaded.variant.name, loaded.variant.num_heads) == ("DiT-Unnamed/4", 3)


@pytest.mark.parametrize(("schedule", "num_timesteps"), [("linear", 1000), ("linear", 500), ("cosine", 1000)])
def test_the_process_comes_back_with_it(
    ema: DiT, toy_vae: Path, tmp_path: Path, schedule: str, num_timesteps: int
) -> None:
    process = DiffusionSettings(schedule=schedule, num_timesteps=num_timesteps)
    header = CheckpointHeader(TINY, 8, CLASSES, 2, "", 1, {}, process)
    save_model(tmp_path / "ema.safetensors", ema, header)
    export_pipeline(tmp_path / "ema.safetensors", tmp_path / "pipeline", str(toy_vae))
    assert read_header(tmp_path / "pipeline").diffusion == process


@pytest.mark.parametrize(
    ("stated", "process"),
    [
        ({}, DiffusionSettings()),
        ({"objective": "flow"}, FlowSettings(objective="flow")),
        ({"schedule": "cosine"}, DiffusionSettings(schedule="cosine")),
        (
            {"objective": "ddpm", "schedule": "zero-snr", "prediction": "v_prediction"},
            DiffusionSettings(schedule="zero-snr", prediction="v_prediction"),
        ),
    ],
)
def test_a_process_is_stated_of_weights_that_do_not_tell_it(
    ema: DiT, tmp_path: Path, stated: dict[str, str], process: AnyProcess
) -> None:
    torch.save(ema.state_dict(), tmp_path / "plain.pt")
    assert load_checkpoint(tmp_path / "plain.pt", process=stated)[1].diffusion == process


@pytest.mark.parametrize(
    ("stated", "reason"),
    [
        ({"objective": "fow"}, "objective fow: choose one of ddpm, flow"),
        ({"objective": "flow", "prediction": "epsilon"}, "objective flow: prediction: Extra inputs"),
        ({"schedule": "cosin"}, "objective ddpm: schedule: Input should be 'linear', 'cosine' or 'zero-snr'"),
        ({"schedule": "zero-snr"}, "tells nothing of the image at the last timestep"),
    ],
)
def test_no_process_is_like_that(ema: DiT, tmp_path: Path, stated: dict[str, str], reason: str) -> None:
    torch.save(ema.state_dict(), tmp_path / "plain.pt")
    with pytest.raises(UserError, match=reason):
        load_checkpoint(tmp_path / "plain.pt", process=stated)


def test_what_a_pipeline_says_of_its_process_stands(exported: Path) -> None:
    stated = {"objective": "ddpm", "schedule": "linear"}
    assert load_checkpoint(exported, process=stated)[1].diffusion == DiffusionSettings()
    with pytest.raises(UserError, match="of schedule linear: leave out --schedule cosine"):
        load_checkpoint(exported, process={"schedule": "cosine"})
    with pytest.raises(UserError, match="of objective ddpm: leave out --objective flow"):
        load_checkpoint(exported, process={"objective": "flow"})


def test_a_process_of_another_kind_is_refused(exported: Path) -> None:
    file = exported / "scheduler/scheduler_config.json"
    config = json.loads(file.read_text())
    for change in ({"prediction_type": "sample"}, {"beta_end": 0.012}):
        file.write_text(json.dumps(config | change))
        with pytest.raises(UserError, match=r"scheduler_config\.json is of no process that this version knows"):
            load_model(exported)
    for text in ("{}", json.dumps(config | {"rescale_betas_zero_snr": True})):  # noise of zero SNR is no process
        file.write_text(text)
        with pytest.raises(UserError, match="does not say which process the weights reverse"):
            load_model(exported)


@pytest.mark.parametrize("schedule", ["linear", "zero-snr"])
def test_a_process_of_v_is_read(exported: Path, schedule: str) -> None:
    file = exported / "scheduler/scheduler_config.json"
    changes = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": schedule == "zero-snr"}
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    assert read_header(exported).diffusion == DiffusionSettings(schedule=schedule, prediction="v_prediction")


def test_class_names_go_with_it(exported: Path, ema: DiT, toy_vae: Path, tmp_path: Path) -> None:
    assert load_pipeline(exported).labels == {"ant": 0, "bee": 1, "cat": 2}
    with pytest.raises(UserError, match="knows 3 classes, but the class names given for it number 1"):
        export_pipeline(tmp_path / "tiny.pt", tmp_path / "other", str(toy_vae), ["ant"])
    study = tmp_path / "study"
    (study / "run").mkdir(parents=True)
    torch.save(ema.state_dict(), study / "run/tiny.pt")
    (study / "vae").symlink_to(toy_vae.parent)
    (study / "data").mkdir()
    (study / "data/data.json").write_text(json.dumps({"class_names": ["x", "y", "z"]}))
    ran = CliRunner().invoke(app, ["export", str(study / "run/tiny.pt"), str(tmp_path / "named")])
    assert ran.exit_code == 0, ran.exception
    assert load_pipeline(tmp_path / "named").labels == {"x": 0, "y": 1, "z": 2}


def test_a_model_without_null_class_makes_no_pipeline(ema: DiT, toy_vae: Path, tmp_path: Path) -> None:
    torch.save(without_null_class(ema), tmp_path / "open.pt")
    with pytest.raises(UserError, match="has no null class"):
        export_pipeline(tmp_path / "open.pt", tmp_path / "pipeline", str(toy_vae), num_classes=CLASSES)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"activation_fn": "gelu"}, "activation_fn is 'gelu', but DiT's is 'gelu-approximate'"),
        ({"norm_eps": 1e-3}, "norm_eps is 0.001"),
        ({"sample_size": None}, "sample_size is None, not a whole number"),
        ({"out_channels": 2}, "out_channels is 2, not twice in_channels"),
        ({"rope": True}, "rope is unknown here"),
    ],
)
def test_a_transformer_of_another_kind_is_refused(exported: Path, change: dict[str, Any], reason: str) -> None:
    file = exported / "transformer/config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(UserError, match=f"is not of a DiT that this version can read: {reason}"):
        load_model(exported)


def test_weights_unlike_their_config_are_refused(exported: Path) -> None:
    path = exported / "transformer/diffusion_pytorch_model.safetensors"
    state = load_file(path)
    save_file({key: tensor for key, tensor in state.items() if "to_q" not in key}, path)
    with pytest.raises(UserError, match=r"does not hold the weights that .*config\.json describes"):
        load_model(exported)
    altered = state | {"transformer_blocks.1.norm1.emb.class_embedder.embedding_table.weight": torch.zeros(4, 32)}
    save_file(altered, path)
    with pytest.raises(UserError, match="differs from that of the first block"):
        load_model(exported)
    (exported / "transformer/config.json").unlink()
    with pytest.raises(UserError, match=r"has diffusers' names, so that .*config\.json must say"):
        load_model(exported)
