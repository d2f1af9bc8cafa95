"""A size is one row: CONTRIBUTING's recipe, followed."""

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dit_scaling.common.errors import UserError
from dit_scaling.config import Stages, parse_study
from dit_scaling.models import count_gflops, count_parameters, create_model
from dit_scaling.models.checkpoints import read_header
from dit_scaling.sampling.images import read_samples
from dit_scaling.sampling.parts import PartFiles, sample_part
from dit_scaling.training.loop import train_to
from dit_scaling.training.runtime import Runtime
from dit_scaling.variants import SIZES, UNET_SIZES, Size, UNetSize
from jobs import CONFIG

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _added_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one place that a new size has."""
    monkeypatch.setitem(SIZES, "Added", Size(depth=2, hidden_size=32, num_heads=4))
    monkeypatch.setitem(UNET_SIZES, "Added", UNetSize(channels=8, multipliers=(1, 2), blocks=1, head_width=8))


@pytest.mark.parametrize("name", ["DiT-Added/2", "UNet-Added"])
def test_an_added_size_is_counted_trained_and_sampled(
    name: str, toy_latents: Path, toy_vae: Path, tmp_path: Path
) -> None:
    data, vae = CONFIG["data"] | {"image_size": 32, "classes": 3}, CONFIG["vae"] | {"block_channels": [4, 4, 4]}
    study = parse_study({**CONFIG, "data": data, "vae": vae, "variants": [name]})
    variant = study.variant(name)
    stages, run = Stages(study, "images"), (variant.slug, study.training.seeds[0])
    settings = stages.train(*run)

    size, classes, channels = settings.input_size, settings.num_classes, settings.in_channels
    with torch.device("meta"):
        model = create_model(name, size, classes, channels)
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, channels, size, size), torch.empty(1), torch.empty(1, dtype=torch.int64))
    assert count_parameters(name, classes, channels) == sum(weight.numel() for weight in model.parameters())
    assert 2e9 * count_gflops(name, size, channels) == pytest.approx(counter.get_total_flops(), rel=1e-12)

    folder = train_to(settings, toy_latents, 3, tmp_path / "states", Runtime(device=CPU))
    weights = folder.export_path(3, "ema.safetensors")
    assert read_header(weights).variant == variant

    sampling = stages.sample(*run, step=3, guidance_scale=1.0)
    output, first, grid = (tmp_path / name for name in ("part.npz", "first.npz", "grid.png"))
    sample_part(sampling, 0, PartFiles(weights, toy_vae, output, first, grid), 4, CPU, 60.0)
    count = study.sampling.num_samples // study.sampling.parts
    assert read_samples(output).images.shape == (count, 32, 32, study.data.channels)


@pytest.mark.parametrize("key", ["sizes", "unet_sizes"])
def test_a_shipped_size_is_no_studys_to_redefine(key: str) -> None:
    row = {"depth": 1, "hidden_size": 8, "num_heads": 1} if key == "sizes" else {"channels": 8}
    with pytest.raises(UserError, match=rf"{key}\.Added: this size is shipped"):
        parse_study({**CONFIG, key: {"Added": row}})
