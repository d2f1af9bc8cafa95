"""How many samples at a time: as many equal parts of a rank's share as fit the GPU, the same in plan and training."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dit_scaling.config import load_study
from dit_scaling.config.stages import TrainSettings
from dit_scaling.models.checkpoints import read_header
from dit_scaling.plan import space
from dit_scaling.training.loop import chosen_micro_batch, train_to
from dit_scaling.training.ranks import ALONE
from dit_scaling.training.runtime import Runtime
from dit_scaling.variants import parse_variant
from dit_scaling.variants.training_memory import USABLE, TrainingMemory

GB = 1e9
CPU = torch.device("cpu")


def kept(name: str, precision: str = "bfloat16", share: int = 256, ranks: int = 1) -> TrainingMemory:
    return TrainingMemory(parse_variant(name), 32, 4, 1000, precision, share, ranks)


@pytest.mark.parametrize(
    ("name", "memory", "chosen"),
    [
        # XL/2 in bfloat16: 26 bytes a weight are 17.5 GB, and 0.43 GB a sample.
        ("DiT-XL/2", 141 * GB, 128),
        ("DiT-XL/2", 80 * GB, 64),
        ("DiT-XL/2", 40 * GB, 32),
        ("DiT-XL/2", 10 * GB, 1),
        ("DiT-S/8", 40 * GB, 256),
        ("DiT-S/2", 40 * GB, 256),
    ],
)
def test_the_largest_equal_parts_that_fit_are_chosen(name: str, memory: float, chosen: int) -> None:
    model = kept(name)
    assert model.micro_batch("auto", memory) == chosen
    needed, twice = model.needed(chosen), model.needed(2 * chosen)
    assert needed is not None
    assert twice is not None
    assert needed <= USABLE * memory or chosen == 1
    assert twice > USABLE * memory or chosen == 256


def test_parts_are_equal_so_that_a_compiled_network_has_one_shape() -> None:
    for share in (1, 7, 96, 250, 256):
        for memory in (20 * GB, 40 * GB, 80 * GB):
            assert share % kept("DiT-XL/2", share=share).micro_batch("auto", memory) == 0


@pytest.mark.parametrize(
    ("asked", "memory", "chosen"), [("auto", None, 256), (0, GB, 256), (32, GB, 32), (1000, None, 256)]
)
def test_without_a_gpu_it_is_the_whole_share_and_a_number_holds(
    asked: int | str, memory: float | None, chosen: int
) -> None:
    assert kept("DiT-XL/2").micro_batch(asked, memory) == chosen


def test_a_u_net_has_no_formula_and_is_not_cut() -> None:
    assert kept("UNet-XL").micro_batch("auto", GB) == 256


@pytest.mark.parametrize("jobs_per_gpu", [1, 2])
def test_plan_and_training_choose_the_same(monkeypatch: pytest.MonkeyPatch, jobs_per_gpu: int) -> None:
    """For each variant of the paper's study, on a GPU of 40 GB."""
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=40 * 10**9))
    study = load_study(Path(__file__).parents[2] / "config" / "imagenet256.yaml")
    resources = study.resources.model_copy(update={"jobs_per_gpu": jobs_per_gpu})
    study = study.model_copy(update={"resources": resources})
    runtime = Runtime(device=torch.device("cuda"), jobs_per_gpu=jobs_per_gpu)
    chosen = dict[str, int]()
    for name in study.variants:
        settings = TrainSettings(
            variant=study.variant(name),
            seed=0,
            input_size=32,
            in_channels=4,
            num_classes=1000,
            recipe=study.training.recipe,
            latents="",
        )
        chosen[name] = chosen_micro_batch(settings, runtime, ALONE)
        assert chosen[name] == space.micro_batch(study, study.variant(name), 1, 40 * GB)
    assert chosen["DiT-S/8"] == 256 > chosen["DiT-L/2"] >= chosen["DiT-XL/2"]


def weights(folder: Path, run: TrainSettings, manifest: Path, **how: Any) -> tuple[bytes, dict[str, Any]]:
    """Tensors of the exported file as bytes, and what its header says of its origin."""
    trained = train_to(run, manifest, 6, folder, Runtime(device=CPU, **how))
    path = trained.export_path(6, "raw.safetensors")
    numbers = b"".join(tensor.numpy().tobytes() for _, tensor in sorted(load_file(path).items()))
    return numbers, dict(read_header(path).provenance)


def test_on_a_cpu_the_default_is_bit_for_bit_the_whole_share_and_is_recorded(
    toy_run: TrainSettings, toy_latents: Path, tmp_path: Path
) -> None:
    default, facts = weights(tmp_path / "default", toy_run, toy_latents)
    whole, _ = weights(tmp_path / "whole", toy_run, toy_latents, micro_batch=0)
    parts, others = weights(tmp_path / "parts", toy_run, toy_latents, micro_batch=3)
    assert default == whole != parts
    assert (facts["micro_batch"], others["micro_batch"]) == (8, 3)
