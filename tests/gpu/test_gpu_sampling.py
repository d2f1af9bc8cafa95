"""Sampling and the autoencoder on the device, from the same noise as on the CPU."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from bounds import Below
from dit_scaling.config.stages import SampleSettings
from dit_scaling.diffusion.denoiser import Denoiser
from dit_scaling.diffusion.process import create_diffusion
from dit_scaling.latents.autoencoder import decode, encode_moments, for_encoding, open_vae
from dit_scaling.models import DiT, create_model
from dit_scaling.sampling.one_shape import compiled_sampler
from dit_scaling.sampling.parts import sample_latents
from dit_scaling.sampling.sample_noise import SampleNoise
from dit_scaling.variants import Variant
from oracles import randomize
from toy_sampling import TOY_SAMPLING

pytestmark = pytest.mark.gpu

CPU = torch.device("cpu")
SETTINGS = TOY_SAMPLING.model_copy(update={"num_samples": 6, "steps": 10})
BOUNDS = {"float32": 1e-4, "tf32": 1e-2, "bfloat16": 5e-2}


@pytest.fixture(scope="module")
def network() -> DiT:
    torch.manual_seed(0)
    return randomize(create_model(Variant(size="Toy", patch=2, depth=2, hidden_size=384, num_heads=6), 16, 3, 4), 0.02)


def sampled(network: DiT, settings: SampleSettings, device: torch.device) -> Tensor:
    return sample_chain(network.to(device), settings, device)


def sample_chain(network: Denoiser, settings: SampleSettings, device: torch.device) -> Tensor:
    """Latents of the first indices, by a network on the device."""
    noise = SampleNoise(0, np.arange(settings.num_samples), (4, 16, 16), device)
    labels = torch.arange(settings.num_samples, device=device) % 3
    return sample_latents(create_diffusion(settings.diffusion), network, settings, noise, labels).cpu()


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize(("sampler", "guidance"), [("ddpm", 1.0), ("ddpm", 4.0), ("ddim", 1.0), ("ddim", 4.0)])
def test_samples_from_the_same_noise(
    network: DiT, device: torch.device, sampler: str, guidance: float, precision: str, below: Below
) -> None:
    settings = SETTINGS.model_copy(update={"sampler": sampler, "guidance_scale": guidance})
    exact = sampled(network, settings, CPU)
    found = sampled(network, settings.model_copy(update={"precision": precision}), device)
    below(
        f"{sampler}, guidance {guidance}, {precision}", float((found - exact).norm() / exact.norm()), BOUNDS[precision]
    )


@pytest.mark.usefixtures("real")
@pytest.mark.parametrize(("guidance", "graphs"), [(1.0, False), (4.0, False), (4.0, True)])
def test_compiled_sampling_has_one_graph_also_for_a_smaller_batch(
    network: DiT, device: torch.device, guidance: float, graphs: bool, below: Below
) -> None:
    """Of the compiler; a CUDA graph launches its kernels, from the third evaluation on."""
    settings = SETTINGS.model_copy(update={"guidance_scale": guidance, "precision": "bfloat16"})
    exact = sampled(network, settings.model_copy(update={"precision": "float32"}), CPU)
    fast = compiled_sampler(copy.deepcopy(network).to(device), graphs=graphs)
    counters.clear()
    first = sample_chain(fast, settings, device)
    with torch.compiler.set_stance("fail_on_recompile"):
        found = sample_chain(fast, settings, device)
        fewer = sample_chain(fast, settings.model_copy(update={"num_samples": 4}), device)
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["inductor"]["cudagraph_skips"]
    assert torch.equal(first, found)
    how = "CUDA graphs" if graphs else "compiled"
    below(f"guidance {guidance}, bfloat16, {how}", float((found - exact).norm() / exact.norm()), BOUNDS["bfloat16"])
    below("its smaller batch", float((fewer - found[:4]).norm() / found[:4].norm()), 1e-6)


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_no_denoising_step_waits_for_the_gpu(
    network: DiT, cuda: torch.device, monkeypatch: pytest.MonkeyPatch, guidance: float
) -> None:
    settings = SETTINGS.model_copy(update={"guidance_scale": guidance})
    sampled(network, settings, cuda)
    calls, forward = [], DiT.forward

    def counted(self: DiT, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        calls.append(1)
        torch.cuda.set_sync_debug_mode("error" if 1 < len(calls) < settings.steps else "default")
        return forward(self, x, t, y)

    monkeypatch.setattr(DiT, "forward", counted)
    try:
        sampled(network, settings, cuda)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(calls) == settings.steps


def test_the_autoencoder(toy_vae: Path, device: torch.device, below: Below) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 1), dtype=np.uint8)
    moments = {place: encode_moments(for_encoding(open_vae(toy_vae), place), images) for place in (CPU, device)}
    apart = np.linalg.norm(moments[device] - moments[CPU]) / np.linalg.norm(moments[CPU])
    below("autoencoder, TF32: moments", float(apart), 3e-3)
    latents = torch.from_numpy(moments[CPU][:, :2])
    pixels = {place: decode(open_vae(toy_vae).to(place), latents, 4).astype(int) for place in (CPU, device)}
    below("autoencoder, TF32: levels of 256", float(abs(pixels[device] - pixels[CPU]).max()), 3)
