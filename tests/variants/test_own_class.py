"""A class of one's own: named in a config, counted, checked against its contract, trained and sampled."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import write_json
from dit_scaling.config import Stages, parse_study
from dit_scaling.diffusion.process import PAPER_PROCESS, FlowSettings
from dit_scaling.health.contract import check_contract, refuse_broken_contracts
from dit_scaling.models import create_model
from dit_scaling.models.checkpoints import read_header
from dit_scaling.plan.space import disk_of
from dit_scaling.results.loss_table import write_loss_table
from dit_scaling.sampling.images import read_samples
from dit_scaling.sampling.parts import PartFiles, sample_part
from dit_scaling.training.loop import train_to
from dit_scaling.training.runtime import Runtime
from dit_scaling.variants import (
    SLUG,
    ClassVariant,
    Size,
    UNetSize,
    count_gflops,
    count_parameters,
    family_of,
    parse_variant,
)
from jobs import CONFIG

CPU = torch.device("cpu")
MODERN = "examples.modern:Modern"
NANO: dict[str, Any] = {"depth": 2, "hidden_size": 32, "num_heads": 2}
SHAPE = (2, 8, 8)
FLOW = FlowSettings(objective="flow")

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, *, input_size, num_classes, in_channels, width, **rest):
        super().__init__()
        self.x = nn.Conv2d(in_channels, width, 1)
        self.y = nn.Embedding(num_classes + 1, width)
        self.t = nn.Linear(1, width)
        self.out = nn.Conv2d(width, {channels} * in_channels, 1)
        {extra}

    def forward(self, x, t, y):
        condition = {condition}
        return self.out(torch.relu(self.x(x) + condition[:, :, None, None])){after}
"""
SOUND = {"channels": "2", "extra": "pass", "condition": "self.y(y) + self.t(t.float()[:, None])", "after": ""}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Writes my_lab/nets.py on Python's path and gives its variant."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_lab").mkdir()

    def write(**parts: str) -> ClassVariant:
        (tmp_path / "my_lab" / "nets.py").write_text(NET.format(**(SOUND | parts)))
        sys.modules.pop("my_lab.nets", None)
        variant = parse_variant("my_lab.nets:Net-Tiny", class_sizes={"my_lab.nets:Net": {"Tiny": {"width": 8}}})
        assert isinstance(variant, ClassVariant)
        return variant

    yield write
    for name in ("my_lab", "my_lab.nets"):
        sys.modules.pop(name, None)


def failed(variant: ClassVariant, process: Any = PAPER_PROCESS) -> set[str]:
    return {check.name for check in check_contract(variant, process, SHAPE, 3) if not check.passed}


@pytest.mark.parametrize("process", [PAPER_PROCESS, FLOW], ids=["ddpm", "flow"])
def test_the_modern_block_keeps_to_the_contract(process: Any) -> None:
    variant = parse_variant(f"{MODERN}-Nano/2", class_sizes={MODERN: {"Nano": NANO}})
    assert isinstance(variant, ClassVariant)
    checks = check_contract(variant, process, SHAPE, 10)
    assert {check.name for check in checks if not check.passed} == set()
    assert "Gflops by its own formula" in {check.name for check in checks}


def test_the_modern_block_sees_positions_and_starts_at_zero() -> None:
    """Rotary positions: tokens that change places do not merely change places in the output."""
    variant = parse_variant(f"{MODERN}-Nano/2", class_sizes={MODERN: {"Nano": NANO}})
    model = create_model(variant, 8, 3, 2)
    x, t, y = torch.randn(1, *SHAPE), torch.rand(1), torch.zeros(1).long()
    assert not model(x, t, y).any()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn(weight.shape))
    swapped = x.clone()
    swapped[..., :2], swapped[..., 2:4] = x[..., 2:4], x[..., :2]
    out, other = model(x, t, y), model(swapped, t, y)
    assert not torch.allclose(out[..., :2], other[..., 2:4], atol=1e-3)


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        ({"channels": "3"}, "shape of the output"),
        ({"after": ".double()"}, "shape of the output"),
        ({"condition": "self.y(y) + 0 * self.t(t.float()[:, None])"}, "depends on the time"),
        ({"condition": "0 * self.y(y) + self.t(t.float()[:, None])"}, "depends on the label"),
        ({"condition": "self.y(y.clamp(max=2)) + self.t(t.float()[:, None])"}, "has a null class"),
        ({"extra": "self.y = nn.Embedding(num_classes, width)"}, "has a null class"),
        ({"extra": "self.idle = nn.Linear(2, 2)"}, "gradient to every weight"),
        ({"after": " + 1e-3 * torch.randn(())"}, "repeats itself"),
        ({"after": " + x.mean()"}, "samples are apart"),
        ({"after": " * (1 + torch.compiler.is_compiling())"}, "compiles"),
        ({"after": ".missing"}, "runs"),
        ({"extra": "type(self).multiply_adds = staticmethod(lambda **_: 7)"}, "Gflops by its own formula"),
        (
            {"extra": "self.tied = nn.Conv2d(in_channels, width, 1); self.tied.weight = self.x.weight"},
            "weights are apart",
        ),
        ({"extra": "self.also = self.x"}, "weights are apart"),
        ({"extra": "self.upper = nn.Parameter(self.x.weight[:2].detach())"}, "weights are apart"),
        ({"extra": "self.register_buffer('seen', self.x.weight.detach())"}, "weights are apart"),
        ({"extra": "self.register_buffer('seen', self.x.weight.detach(), persistent=False)"}, "weights are apart"),
        (
            {"extra": "c = torch.ones(2); self.register_buffer('c', c); self.register_buffer('d', c)"},
            "weights are apart",
        ),
        (
            {"extra": "self.out.weight.data = torch.rand(self.out.weight.shape, generator=GENERATOR)"},
            "weights follow from the seed",
        ),
    ],
)
def test_what_breaks_the_contract_is_named(lab: Any, parts: dict[str, str], name: str) -> None:
    if "GENERATOR" in parts.get("extra", ""):
        parts = {"extra": parts["extra"].replace("GENERATOR", "__import__('builtins').generator")}
        __import__("builtins").generator = torch.Generator()
    assert name in failed(lab(**parts))


def test_a_sound_class_of_few_lines_passes(lab: Any) -> None:
    assert failed(lab()) == set()
    assert failed(lab(channels="1"), FLOW) == set()
    assert "shape of the output" in failed(lab(channels="1"))


def test_shared_weights_are_named_with_what_to_do(lab: Any) -> None:
    variant = lab(extra="self.tied = nn.Conv2d(in_channels, width, 1); self.tied.weight = self.x.weight")
    (check,) = (check for check in check_contract(variant, PAPER_PROCESS, SHAPE, 3) if not check.passed)
    assert check.value == "(network.x.weight, network.tied.weight) are shared"
    assert "Give each module its own" in check.meaning


def test_constants_in_no_file_and_modules_used_twice_are_no_shared_weights(lab: Any) -> None:
    constant = "c = torch.ones(2); [self.register_buffer(name, c, persistent=False) for name in 'cd']"
    assert failed(lab(extra=constant)) == set()
    assert (
        failed(lab(condition="self.y(y) + self.t(self.t.weight.sum() * 0 + self.t(t.float()[:, None])[:, :1])"))
        == set()
    )


def test_a_class_that_raises_or_is_not_there_is_told(lab: Any) -> None:
    variant = lab(extra="raise RuntimeError('no such width')")
    with pytest.raises(UserError, match=r"my_lab\.nets:Net cannot be built .*width=8.*no such width"):
        count_gflops(variant, 8, 2)
    with pytest.raises(UserError, match=r"there is no module my_lab\.absent"):
        parse_variant("my_lab.absent:Net-Tiny", class_sizes={"my_lab.absent:Net": {"Tiny": {}}})
    with pytest.raises(UserError, match=r"cannot be imported .*no attribute 'Other'"):
        other = parse_variant("my_lab.nets:Other-Tiny", class_sizes={"my_lab.nets:Other": {"Tiny": {}}})
        count_gflops(other, 8, 2)
    with pytest.raises(UserError, match=r"size 'Huge' is not in class_sizes\.my_lab\.nets:Net"):
        parse_variant("my_lab.nets:Net-Huge", class_sizes={"my_lab.nets:Net": {"Tiny": {}}})


def test_an_edit_of_the_class_trains_anew(lab: Any) -> None:
    assert lab().source != lab(extra="self.more = 1").source


def test_torchs_counter_agrees_with_dits_closed_form() -> None:
    """The counter, on a network without memory, as it counts classes of one's own."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model = create_model("DiT-S/2", 32, 10, 4)
        model(torch.empty(1, 4, 32, 32), torch.empty(1), torch.empty(1, dtype=torch.int64))
    assert counter.get_total_flops() / 2e9 == pytest.approx(count_gflops(parse_variant("DiT-S/2")), rel=1e-9)


def test_a_study_of_a_class_trains_and_samples_it(toy_latents: Path, toy_vae: Path, tmp_path: Path) -> None:
    data, vae = CONFIG["data"] | {"image_size": 32, "classes": 3}, CONFIG["vae"] | {"block_channels": [4, 4, 4]}
    name = f"{MODERN}@flow-Nano/2"
    changes = {"data": data, "vae": vae, "class_sizes": {MODERN: {"Nano": NANO}}, "variants": [name]}
    study = parse_study(
        {**CONFIG, **changes, "sampling": {**CONFIG["sampling"], "samplers": {"flow": "euler"}, "steps": 4}}
    )
    refuse_broken_contracts(study)
    variant = study.variant(name)
    assert (variant.name, variant.slug) == (name, "examples.modern.Modern@flow-Nano-2")
    stages = Stages(study, "images")
    settings = stages.train(variant.slug, study.training.seeds[0])
    assert settings.diffusion == FLOW
    assert stages.preflight().own == (variant,)
    weights = sum(w.numel() for w in create_model(variant, 8, 3, 2).parameters())
    assert count_parameters(variant, 3, 2, input_size=8) == weights
    folder = train_to(settings, toy_latents, 3, tmp_path / "states", Runtime(device=CPU))
    weights = folder.export_path(3, "ema.safetensors")
    assert read_header(weights).variant == variant
    sampling = stages.sample(variant.slug, study.training.seeds[0], step=3, guidance_scale=1.0)
    output, first, grid = (tmp_path / file for file in ("part.npz", "first.npz", "grid.png"))
    sample_part(sampling, 0, PartFiles(weights, toy_vae, output, first, grid), 4, CPU, 60.0)
    assert len(read_samples(output).images) == study.sampling.num_samples // study.sampling.parts


SIZE = st.from_regex(r"[A-Za-z0-9]{1,6}", fullmatch=True)
FAMILY = st.one_of(
    st.just("DiT"),
    st.just("UNet"),
    st.from_regex(r"[a-z_][a-z0-9_]{0,4}(\.[a-z]{1,4})?:[A-Z][a-z]{0,3}", fullmatch=True),
)


@given(FAMILY, st.sampled_from([None, "flow", "ddpm"]), SIZE, st.integers(1, 64))
def test_names_and_file_names_come_back(family: str, objective: str | None, size: str, patch: int) -> None:
    patched = "" if family == "UNet" else f"/{patch}"
    name = f"{family}{f'@{objective}' if objective else ''}-{size}{patched}"
    if family in ("DiT", "UNet"):
        variant = parse_variant(name, {size: Size(**NANO)}, {size: UNetSize(channels=8)})
    else:
        said = {"objective": objective} if objective else {}
        variant = ClassVariant(family=family, size=size, patch=patch, options={}, source="", **said)
    assert variant.name == name
    assert family_of(name) == variant.line
    assert re.fullmatch(SLUG, variant.slug)
    assert "/" not in variant.slug
    assert ":" not in variant.slug
    head, *rest = variant.slug.split("-")
    network, at, said_objective = head.partition("@")
    module, dot, last = network.rpartition(".")
    back = f"{module}:{last}" if dot else network
    assert f"{back}{at}{said_objective}-{'/'.join(rest)}" == name


def test_plans_and_tables_count_weights_on_the_latents_of_the_study(lab: Any, tmp_path: Path) -> None:
    lab(extra="self.places = nn.Parameter(torch.zeros(1000 * input_size))")
    name, sizes = "my_lab.nets:Net-Tiny", {"my_lab.nets:Net": {"Tiny": {"width": 8}}}
    training = CONFIG["training"] | {"seeds": [0]}
    study = parse_study({**CONFIG, "class_sizes": sizes, "variants": [name], "training": training})
    shape = study.latent_size, study.data.classes, study.vae.latent_channels
    weights = sum(weight.numel() for weight in create_model(study.variant(name), *shape).parameters())
    assert study.latent_size != 32
    assert disk_of(study, 10).states == 2 * 4 * 4 * weights
    record = tmp_path / "losses.json"
    write_json(record, {"steps": {str(step): {"held_out_mse": 0.2} for step in study.exports(name)}})
    write_loss_table(study, [record], tmp_path / "losses.csv")
    assert set(pd.read_csv(tmp_path / "losses.csv")["params"]) == {weights}
