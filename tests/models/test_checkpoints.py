"""Checkpoints: round trips, the released format, and files that are not what they should be."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from dit_scaling.common.errors import UserError
from dit_scaling.diffusion.process import PAPER_PROCESS, DiffusionSettings
from dit_scaling.models import DiT, create_model
from dit_scaling.models.checkpoints import CheckpointHeader, load_checkpoint, load_model, read_header, save_model
from dit_scaling.variants import SIZES, Size, Variant
from oracles import randomize

TINY = Variant(size="Tiny", patch=2, depth=2, hidden_size=32, num_heads=2)
HEADER = CheckpointHeader(
    variant=TINY,
    input_size=8,
    num_classes=10,
    in_channels=4,
    settings_digest="0123456789abcdef",
    step=7,
    provenance={"weights": "ema", "seed": 3, "latents": {"sha256": "00ff"}},
)


@pytest.fixture
def model() -> DiT:
    return randomize(create_model(TINY, input_size=8, num_classes=10))


@pytest.fixture
def tiny_is_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a small model play a released one."""
    monkeypatch.setitem(SIZES, "Tiny", Size(depth=2, hidden_size=32, num_heads=2))


def same_output(one: DiT, other: DiT) -> bool:
    x, t, y = torch.randn(2, 4, 8, 8), torch.tensor([3, 900]), torch.tensor([1, 10])
    return torch.equal(one(x, t, y), other(x, t, y))


def test_weights_and_header_come_back(model: DiT, tmp_path: Path) -> None:
    path = tmp_path / "new" / "ema.safetensors"
    save_model(path, model, HEADER)
    loaded = load_model(path)
    assert same_output(model, loaded)
    assert not loaded.training
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    assert read_header(path) == HEADER
    assert list(path.parent.iterdir()) == [path]


def test_a_header_records_the_process_and_without_it_means_the_papers(model: DiT, tmp_path: Path) -> None:
    path, cosine = tmp_path / "ema.safetensors", DiffusionSettings(schedule="cosine", num_timesteps=500)
    save_model(path, model, replace(HEADER, diffusion=cosine))
    assert read_header(path).diffusion == load_checkpoint(path)[1].diffusion == cosine
    older = {key: value for key, value in HEADER.plain().items() if key != "diffusion"}
    save_file(load_file(path), path, metadata={"dit_scaling": json.dumps(older)})
    assert read_header(path).diffusion == PAPER_PROCESS


@pytest.mark.parametrize("settings", [{"schedule": "square"}, {"num_timesteps": 3}, {"betas": [0.1]}])
def test_a_process_that_this_version_does_not_know_is_named(
    model: DiT, tmp_path: Path, settings: dict[str, Any]
) -> None:
    path = tmp_path / "ema.safetensors"
    save_file(model.state_dict(), path, metadata={"dit_scaling": json.dumps(HEADER.plain() | {"diffusion": settings})})
    with pytest.raises(UserError, match=r"this version cannot read its header .*('linear' or|too few|Extra)"):
        load_model(path)


def test_the_file_is_plain_safetensors(model: DiT, tmp_path: Path) -> None:
    save_model(tmp_path / "raw.safetensors", model, HEADER)
    state = load_file(tmp_path / "raw.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == {
        name: tuple(tensor.shape) for name, tensor in model.state_dict().items()
    }
    with safe_open(tmp_path / "raw.safetensors", "pt") as file:
        assert '"step":7' in file.metadata()["dit_scaling"]


def test_weights_that_are_views_of_one_flat_tensor_are_saved(model: DiT, tmp_path: Path) -> None:
    """As the training loop keeps them."""
    state = model.state_dict()
    flat = torch.cat([tensor.flatten() for tensor in state.values()])
    parts = flat.split([tensor.numel() for tensor in state.values()])
    views = {name: part.view(tensor.shape) for (name, tensor), part in zip(state.items(), parts, strict=True)}
    save_model(tmp_path / "raw.safetensors", views, HEADER)
    assert same_output(model, load_model(tmp_path / "raw.safetensors"))
    assert (tmp_path / "raw.safetensors").stat().st_size < 4 * len(flat) + 10_000


@pytest.mark.parametrize("fault", ["prefix", "other variant"])
def test_weights_of_another_model_are_not_saved(model: DiT, tmp_path: Path, fault: str) -> None:
    state = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    other = replace(HEADER, variant=Variant(size="Deep", patch=2, depth=3, hidden_size=32, num_heads=2))
    with pytest.raises(UserError, match=r"blocks\.2|module\.pos_embed|pos_embed is missing"):
        save_model(tmp_path / "x.safetensors", *((state, HEADER) if fault == "prefix" else (model, other)))
    assert not list(tmp_path.iterdir())


def test_a_failing_save_leaves_the_older_file(model: DiT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "raw.safetensors"
    save_model(path, model, HEADER)
    before = path.read_bytes()

    def disk_full(_tensors: object, filename: Path, **_: object) -> None:
        filename.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dit_scaling.models.checkpoints.save_file", disk_full)
    with pytest.raises(OSError, match="No space"):
        save_model(path, randomize(model), HEADER)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


# Released checkpoints


@pytest.mark.usefixtures("tiny_is_shipped")
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_released_state_dict_loads_as_it_is(model: DiT, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"DiT-Tiny-2{suffix}"
    torch.save(model.state_dict(), path) if suffix == ".pt" else save_file(model.state_dict(), path)
    assert same_output(model, load_model(path))
    assert read_header(path) == CheckpointHeader(TINY, 8, 10, 4, None, None, {"source": path.name})


@pytest.mark.usefixtures("tiny_is_shipped")
def test_half_precision_weights_become_float32(model: DiT, tmp_path: Path) -> None:
    torch.save({name: tensor.half() for name, tensor in model.state_dict().items()}, tmp_path / "half.pt")
    assert {tensor.dtype for tensor in load_model(tmp_path / "half.pt").state_dict().values()} == {torch.float32}


@pytest.mark.parametrize("size", ["S", "B", "L", "XL"])
@pytest.mark.parametrize("patch", [2, 4, 8])
@pytest.mark.parametrize("input_size", [32, 64])
def test_every_paper_variant_is_known_by_its_shapes(size: str, patch: int, input_size: int, tmp_path: Path) -> None:
    with torch.device("meta"):
        state = create_model(f"DiT-{size}/{patch}", input_size).state_dict()
    torch.save(state, tmp_path / "released.pt")
    header = read_header(tmp_path / "released.pt")
    assert (header.variant.name, header.variant.num_heads) == (f"DiT-{size}/{patch}", SIZES[size].num_heads)
    assert (header.input_size, header.num_classes, header.in_channels) == (input_size, 1000, 4)


def test_a_size_of_unknown_heads_is_refused(model: DiT, tmp_path: Path) -> None:
    torch.save(model.state_dict(), tmp_path / "tiny.pt")
    with pytest.raises(UserError, match=r"tiny\.pt: 2 blocks of hidden size 32 are none of the sizes S, B.*heads"):
        load_model(tmp_path / "tiny.pt")


@pytest.mark.usefixtures("tiny_is_shipped")
def test_sizes_that_differ_in_their_heads_only_are_not_guessed(
    model: DiT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SIZES, "Twin", Size(depth=2, hidden_size=32, num_heads=4))
    torch.save(model.state_dict(), tmp_path / "tiny.pt")
    with pytest.raises(UserError, match=r"tiny\.pt: 2 blocks of hidden size 32 are those of sizes Tiny and Twin"):
        load_model(tmp_path / "tiny.pt")


# Damaged and foreign files


def altered(state: dict[str, Tensor], fault: str) -> dict[str, Tensor]:
    key = "blocks.1.attn.qkv.weight"
    if fault == "missing":
        return {name: tensor for name, tensor in state.items() if name != key}
    if fault == "unknown":
        return state | {"blocks.1.attn.extra": torch.zeros(1)}
    return state | {key: torch.zeros(32, 32)}


@pytest.mark.usefixtures("tiny_is_shipped")
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("missing", r"blocks\.1\.attn\.qkv\.weight is missing"),
        ("unknown", r"blocks\.1\.attn\.extra is unknown"),
        ("misshapen", r"blocks\.1\.attn\.qkv\.weight has shape \(32, 32\) instead of \(96, 32\)"),
    ],
)
def test_each_wrong_key_is_named(model: DiT, tmp_path: Path, suffix: str, fault: str, reason: str) -> None:
    state, path = altered(model.state_dict(), fault), tmp_path / f"bad{suffix}"
    torch.save(state, path) if suffix == ".pt" else save_file(state, path)
    with pytest.raises(UserError, match=rf"{path.name}: .*DiT-Tiny/2.*{reason}"):
        load_model(path)


@pytest.mark.usefixtures("tiny_is_shipped")
@pytest.mark.parametrize("key", ["pos_embed", "x_embedder.proj.weight", "y_embedder.embedding_table.weight"])
def test_keys_that_tell_the_variant_are_named(model: DiT, tmp_path: Path, key: str) -> None:
    state = model.state_dict()
    for number, wrong in enumerate(({}, {key: torch.zeros(3)})):
        path = tmp_path / f"{number}.pt"
        torch.save({name: tensor for name, tensor in state.items() if name != key} | wrong, path)
        with pytest.raises(UserError, match=f"no DiT checkpoint: key {key}"):
            load_model(path)


def test_many_wrong_keys_are_counted(model: DiT, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"; and \d+ more\.$"):
        save_model(tmp_path / "x.safetensors", {}, HEADER)
    assert model.state_dict()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99, 0.9999])
def test_a_file_cut_short_is_refused(model: DiT, tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"cut{suffix}"
    torch.save(model.state_dict(), path) if suffix == ".pt" else save_model(path, model, HEADER)
    content = path.read_bytes()
    path.write_bytes(content[: math.floor(share * len(content))])
    for read in (load_model, read_header):
        with pytest.raises(UserError, match=rf"cut{suffix} cannot be read as a checkpoint"):
            read(path)


@pytest.mark.parametrize("name", ["notes.pt", "notes.safetensors", "notes.txt"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("loss went down\n")
    with pytest.raises(UserError, match="cannot be read as a checkpoint"):
        load_model(tmp_path / name)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path, fault in ((tmp_path / "none.pt", "does not exist"), (tmp_path, "is a folder without the weights")):
        with pytest.raises(UserError, match=fault):
            load_model(path)


def test_a_file_of_unknown_parts_is_refused_with_advice(model: DiT, tmp_path: Path) -> None:
    torch.save({"network": {"weights": model.state_dict()}, "step": 3}, tmp_path / "train.pt")
    with pytest.raises(UserError, match=r"not a plain state dict.* no 'ema': it holds network, step.*content\['ema'\]"):
        load_model(tmp_path / "train.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(UserError, match="holds list, not a state dict"):
        load_model(tmp_path / "list.pt")


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def test_code_in_a_pt_is_not_run(tmp_path: Path) -> None:
    torch.save({"pos_embed": Malicious(tmp_path / "touched")}, tmp_path / "evil.pt")
    with pytest.raises(UserError, match="cannot be read as a checkpoint without running code of it") as error:
        load_model(tmp_path / "evil.pt")
    assert "\x1b" not in str(error.value)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("header", ["{", "[]", "{}", '{"variant": {}}', '{"variant": {"family": "DiT"}, "step": 1}'])
def test_a_header_of_another_version_is_refused(model: DiT, tmp_path: Path, header: str) -> None:
    save_file(model.state_dict(), tmp_path / "x.safetensors", metadata={"dit_scaling": header})
    with pytest.raises(UserError, match="cannot read its header"):
        load_model(tmp_path / "x.safetensors")
