"""The U-Net beside DiT: its counts against torch's, and the same training, checkpoints and samplers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from dit_scaling.claims.comparisons import EQUAL_GFLOPS_RATIO
from dit_scaling.common.errors import UserError
from dit_scaling.config.stages import TrainSettings
from dit_scaling.diffusion.process import PAPER_PROCESS, create_diffusion
from dit_scaling.models import Network, UNet, count_gflops, count_parameters, create_model
from dit_scaling.models.checkpoints import CheckpointHeader, load_model, read_header, save_model
from dit_scaling.models.export import export_pipeline
from dit_scaling.sampling.images import read_samples
from dit_scaling.sampling.parts import PartFiles, sample_part
from dit_scaling.training.loop import train_to
from dit_scaling.training.runtime import Runtime
from dit_scaling.variants import UNetVariant, parse_variant
from oracles import randomize
from toy_sampling import TOY_SAMPLING

TINY = UNetVariant(size="Tiny", channels=8, multipliers=(1, 2), blocks=1, head_width=8)
CPU = torch.device("cpu")


def inputs(model: Network) -> tuple[Tensor, Tensor, Tensor]:
    x = torch.randn(2, model.in_channels, model.input_size, model.input_size)
    return x, torch.tensor([3, 900]), torch.tensor([1, model.num_classes])


@pytest.mark.parametrize(
    ("variant", "input_size", "num_classes", "in_channels"),
    [
        (TINY, 8, 10, 2),
        (UNetVariant(size="Deep", channels=16, multipliers=(1, 3, 3, 5), blocks=3, head_width=16), 16, 7, 4),
        (UNetVariant(size="Flat", channels=12, multipliers=(1,), blocks=2, head_width=4), 5, 7, 3),
    ],
)
def test_closed_forms_are_those_of_torch(
    variant: UNetVariant, input_size: int, num_classes: int, in_channels: int
) -> None:
    with torch.device("meta"):
        model = create_model(variant, input_size, num_classes, in_channels)
        with FlopCounterMode(display=False) as counter:
            model(
                torch.empty(1, in_channels, input_size, input_size),
                torch.empty(1, dtype=torch.int64),
                torch.empty(1, dtype=torch.int64),
            )
    assert count_parameters(variant, num_classes, in_channels) == sum(weight.numel() for weight in model.parameters())
    assert 2e9 * count_gflops(variant, input_size, in_channels) == pytest.approx(counter.get_total_flops(), rel=1e-12)


@pytest.mark.parametrize(("size", "gflops"), [("S", 6.58), ("B", 25.95), ("L", 75.85), ("XL", 118.33)])
def test_shipped_sizes_cost_what_is_stated_and_about_as_much_as_a_dit(size: str, gflops: float) -> None:
    assert count_gflops(f"UNet-{size}") == pytest.approx(gflops, abs=0.005)
    assert 1 / EQUAL_GFLOPS_RATIO < gflops / count_gflops(f"DiT-{size}/2") < EQUAL_GFLOPS_RATIO


def test_an_untrained_unet_predicts_zero_and_has_the_loss_of_an_untrained_network() -> None:
    model = create_model(TINY, 8, 10, 4)
    output = model(*inputs(model))
    assert output.shape == (2, 8, 8, 8)
    assert not output.any()
    x0 = torch.randn(500, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(500, dtype=torch.int64)
    with torch.no_grad():
        losses = create_diffusion(PAPER_PROCESS).training_losses(model, x0, torch.arange(0, 1000, 2), labels)
    assert losses["loss"].mean().item() == pytest.approx(1.01, abs=0.03)
    losses = create_diffusion(PAPER_PROCESS).training_losses(model, x0[:4], torch.tensor([0, 5, 500, 999]), labels[:4])
    losses["loss"].mean().backward()
    assert model.network.conv_out.weight.grad.any()


def test_timestep_and_label_condition_every_sample_alone() -> None:
    model = randomize(create_model(TINY, 8, 10, 2))
    x, t, y = inputs(model)
    output = model(x, t, y)
    assert not torch.allclose(output, model(x, t + 50, y))
    assert not torch.allclose(output[0], model(x, t, torch.tensor([2, 10]))[0])
    torch.testing.assert_close(output[1:], model(x[1:], t[1:], y[1:]), atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match=r"\(1, 2, 16, 4\).*\(N, 2, 8, 8\)"):
        model(torch.zeros(1, 2, 16, 4), t[:1], y[:1])


@pytest.mark.parametrize(
    ("changes", "input_size", "reason"),
    [
        ({"multipliers": (1, 2, 3)}, 6, "size 6 cannot be halved 2 times"),
        ({"multipliers": (2, 2)}, 8, "multipliers must start with 1"),
        ({"channels": 10}, 8, "channels 10 must be a multiple of 4"),
        ({"channels": 136}, 8, "channels 136 must be"),
        ({"head_width": 12}, 8, "head_width 12 does not divide"),
    ],
)
def test_proportions_that_do_not_fit_are_refused(changes: dict[str, int], input_size: int, reason: str) -> None:
    with pytest.raises(UserError, match=f"UNet-Tiny: .*{reason}"):
        create_model(TINY.model_copy(update=changes), input_size, 10, 2)


@pytest.mark.parametrize(("name", "reason"), [("UNet-Nope", "'Nope' is not in the size table"), ("UNet-B/2", "UNet-B")])
def test_unknown_names_are_refused(name: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        parse_variant(name)


def test_weights_and_header_come_back(tmp_path: Path) -> None:
    model = randomize(create_model(TINY, 8, 10, 2)).eval()
    path = tmp_path / "ema.safetensors"
    save_model(
        path,
        model,
        CheckpointHeader(
            variant=TINY,
            input_size=8,
            num_classes=10,
            in_channels=2,
            settings_digest="toy",
            step=7,
            provenance={"weights": "ema"},
        ),
    )
    loaded = load_model(path)
    assert isinstance(loaded, UNet)
    assert read_header(path).variant == TINY
    arguments = inputs(model)
    assert torch.equal(loaded(*arguments), model(*arguments))
    with pytest.raises(UserError, match="UNet-Tiny: DiTPipeline samples transformers only"):
        export_pipeline(path, tmp_path / "pipeline", "nowhere")


def test_a_unet_trains_and_samples_by_the_same_stages(
    toy_latents: Path, toy_vae: Path, toy_run: TrainSettings, tmp_path: Path
) -> None:
    settings = toy_run.model_copy(update={"variant": TINY})
    assert TrainSettings.parse(settings.canonical()) == settings
    folder = train_to(settings, toy_latents, 100, tmp_path / "states", Runtime(device=CPU))
    lines = folder.metrics.read_text().splitlines()
    losses = [float(line.split('"loss": ')[1].split(",")[0]) for line in lines]
    assert losses[-1] < losses[0] < 1.1

    changes = {"num_samples": 4, "steps": 3, "guidance_scale": 1.5, "num_classes": settings.num_classes}
    sampling = TOY_SAMPLING.model_copy(update=changes)
    output = tmp_path / "part-00000.npz"
    ema = folder.export_path(100, "ema.safetensors")
    files = PartFiles(ema, toy_vae, output, tmp_path / "first.npz", output.with_suffix(".png"))
    sample_part(sampling, 0, files, 4, CPU, 60.0)
    assert np.array_equal(read_samples(output).labels, [0, 1, 2, 0])
