"""Flow matching against diffusers' schedulers, closed forms on Gaussian data, and SiT's published conventions."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from test_diffusion import Recorder, normal, tiny_dit
from torch import Tensor

from dit_scaling.common.errors import UserError
from dit_scaling.config.stages import SampleSettings, TrainSettings
from dit_scaling.diffusion.process import DiffusionSettings, FlowSettings, create_diffusion
from dit_scaling.diffusion.samplers import SAMPLERS, SamplingOptions
from dit_scaling.health.denoising import structureless_error, target_errors
from dit_scaling.models import create_model
from dit_scaling.models.checkpoints import load_checkpoint, load_model
from dit_scaling.sampling.images import read_samples
from dit_scaling.sampling.parts import PartFiles, sample_latents, sample_part
from dit_scaling.sampling.sample_noise import SampleNoise
from dit_scaling.training.loop import train_to
from dit_scaling.training.runtime import Runtime
from dit_scaling.variants import Variant
from oracles import randomize
from toy_sampling import TOY_SAMPLING

FLOW = FlowSettings(objective="flow")
PROCESS = create_diffusion(FLOW)
OF_FLOW = sorted(name for name, row in SAMPLERS.items() if row.objective == "flow")
MEAN, STD = 1.5, 0.4
CPU = torch.device("cpu")


def exact_velocity(x: Tensor, t: Tensor, _y: Tensor) -> Tensor:
    """E[x_0 - eps | x_t] for x_0 ~ N(MEAN, STD^2), by regression on x_t, which is normal; with channels to spare."""
    t = t.double().view(-1, 1, 1, 1)
    slope = (t * STD**2 - (1 - t)) / (t**2 * STD**2 + (1 - t) ** 2)
    velocity = MEAN + slope * (x - t * MEAN)
    return torch.cat([velocity, torch.full_like(velocity, 9.0)], dim=1)


def sample(sampler: str, steps: int, noise: Tensor) -> Tensor:
    return PROCESS.sample(
        Recorder(exact_velocity), noise, torch.zeros(len(noise)).long(), SamplingOptions(sampler, steps)
    )


def test_the_loss_of_the_exact_velocity_is_what_gaussian_data_leaves_open() -> None:
    x0, noise = MEAN + STD * normal(512, 1, 8, 8), normal(512, 1, 8, 8, seed=1)
    t = torch.rand(512, generator=torch.Generator().manual_seed(0))
    losses = PROCESS.training_losses(Recorder(exact_velocity), x0, t, torch.zeros(512).long(), noise)
    least = PROCESS.level(t).error_by_variance(STD**2)
    torch.testing.assert_close(least, STD**2 / (t.double() ** 2 * STD**2 + (1 - t.double()) ** 2))
    assert float(losses["mse"].mean()) == pytest.approx(float(least.mean()), rel=0.03)
    assert torch.equal(losses["loss"], losses["mse"])
    assert not losses["vb"].any()


def test_no_gradient_reaches_the_channels_of_the_variance() -> None:
    output = normal(4, 4, 2, 2).requires_grad_()
    losses = PROCESS.training_losses(lambda *_: output, normal(4, 2, 2, 2), torch.rand(4), torch.zeros(4).long())
    losses["loss"].sum().backward()
    assert output.grad is not None
    assert output.grad[:, :2].all()
    assert not output.grad[:, 2:].any()


@pytest.mark.parametrize("sampler", OF_FLOW)
def test_many_steps_make_the_data(sampler: str) -> None:
    samples = sample(sampler, 200, normal(64, 1, 16, 16))
    assert float(samples.mean()) == pytest.approx(MEAN, abs=0.02)
    assert float(samples.std()) == pytest.approx(STD, rel=0.03)


def test_orders_of_the_solvers() -> None:
    """The flow of Gaussian data is MEAN + STD x: twice the steps halve Euler's error, and quarter Heun's at least."""

    def error(sampler: str, steps: int) -> float:
        noise = normal(4, 1, 2, 2)
        return float((sample(sampler, steps, noise) - (MEAN + STD * noise)).abs().max())

    assert error("euler", 80) == pytest.approx(error("euler", 40) / 2, rel=0.1)
    assert error("heun", 80) < error("heun", 40) / 3
    assert error("heun", 20) < error("euler", 40)


def test_euler_maruyama_has_the_moments_of_its_recursion() -> None:
    """On Gaussian data a step is linear in x, so mean and variance after every one of few steps are known."""
    steps, h = 8, 1 / 8
    mean, variance = 0.0, 1.0
    for number in range(steps):
        t = number * h
        slope = (t * STD**2 - (1 - t)) / (t**2 * STD**2 + (1 - t) ** 2)
        if number == steps - 1:
            a, drift, added = 1 + h * slope, h * (MEAN - slope * t * MEAN), 0.0
        else:  # v - eps = (1 + t) v - x
            a, drift = 1 + h * ((1 + t) * slope - 1), h * (1 + t) * (MEAN - slope * t * MEAN)
            added = 2 * (1 - t) * h
        mean, variance = a * mean + drift, a**2 * variance + added
    samples = sample("euler-maruyama", steps, normal(256, 1, 16, 16))
    assert float(samples.mean()) == pytest.approx(mean, abs=0.01)
    assert float(samples.var()) == pytest.approx(variance, rel=0.02)


@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_samplers_equal_diffusers(sampler: str) -> None:
    """Their sigma is 1 - t, their timestep 1000 sigma, and their velocity points to the noise."""
    import diffusers

    steps, sigmas = 10, np.linspace(1, 0.1, 10)
    model = randomize(tiny_dit(), std=0.05).eval()
    x, y = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 2])
    ours = PROCESS.sample(model, x, y, SamplingOptions(sampler, steps))
    if sampler == "euler":
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
        scheduler.set_timesteps(sigmas=sigmas.tolist())
    else:
        scheduler = diffusers.FlowMatchHeunDiscreteScheduler()
        scheduler.set_timesteps(steps)
        twice = torch.tensor(sigmas, dtype=torch.float32).repeat_interleave(2)[1:]
        scheduler.sigmas, scheduler.timesteps = torch.cat([twice, torch.zeros(1)]), 1000 * twice
    assert len(scheduler.timesteps) == SAMPLERS[sampler].evaluations(steps)
    with torch.no_grad():
        for timestep in scheduler.timesteps:
            velocity = model(x, torch.full((2,), 1 - float(timestep) / 1000), y)[:, :4]
            x = scheduler.step(-velocity, timestep, x).prev_sample
    torch.testing.assert_close(ours, x, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("sampler", OF_FLOW)
def test_every_sampler_keeps_to_its_row(sampler: str) -> None:
    row, drawn, model = SAMPLERS[sampler], list[Tensor](), Recorder(exact_velocity)

    def step_noise() -> Tensor:
        drawn.append(torch.zeros(1, 1, 2, 2))
        return drawn[-1]

    PROCESS.sample(model, normal(1, 1, 2, 2), torch.zeros(1).long(), SamplingOptions(sampler, 7), step_noise)
    fed = [round(float(t), 6) for _, t, _, _ in model.calls]
    assert list(dict.fromkeys(fed)) == [round(number / 7, 6) for number in range(7)]
    assert len(fed) == row.evaluations(7)
    assert bool(drawn) == row.stochastic


@pytest.mark.parametrize("sampler", OF_FLOW)
def test_noise_follows_from_seed_and_index(sampler: str) -> None:
    model = randomize(tiny_dit(), std=0.05).eval()
    settings = flow_sampling(sampler)

    def draw(*indices: int) -> Tensor:
        noise = SampleNoise(3, np.array(indices), (4, 8, 8), CPU)
        return sample_latents(PROCESS, model, settings, noise, torch.tensor(indices) % 3)

    torch.testing.assert_close(draw(5, 8)[1], draw(8)[0], atol=1e-5, rtol=1e-5)


def test_times_are_drawn_as_named() -> None:
    rng = torch.Generator().manual_seed(0)
    uniform = PROCESS.draw_times(4000, rng)
    normals = create_diffusion(FlowSettings(objective="flow", times="logit-normal")).draw_times(4000, rng)
    assert stats.kstest(uniform.numpy(), "uniform").pvalue > 0.01
    assert stats.kstest(torch.logit(normals.double()).numpy(), "norm").pvalue > 0.01


def test_a_sampler_of_another_objective_is_refused() -> None:
    with pytest.raises(UserError, match="ddim is for networks trained with objective ddpm, not flow: choose euler"):
        PROCESS.respaced(10, "ddim")
    with pytest.raises(UserError, match="heun is for networks trained with objective flow, not ddpm"):
        create_diffusion(DiffusionSettings()).respaced(10, "heun")


def test_an_exact_network_has_the_errors_that_variance_allows() -> None:
    x0 = STD * normal(256, 1, 8, 8)

    def centred(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        t4 = t.double().view(-1, 1, 1, 1)
        return exact_velocity(x + t4 * MEAN, t, y) - MEAN

    for t, error in target_errors(PROCESS, Recorder(centred), x0, torch.zeros(256).long()).items():
        assert error == pytest.approx(structureless_error(PROCESS, t, STD**2), rel=0.05)


def flow_sampling(sampler: str) -> SampleSettings:
    changes = {"num_samples": 4, "sampler": sampler, "steps": 6, "guidance_scale": 1.5, "diffusion": FLOW}
    return TOY_SAMPLING.model_copy(update=changes)


def test_a_flow_is_trained_saved_and_sampled(
    toy_latents: Path, toy_vae: Path, toy_run: TrainSettings, tmp_path: Path
) -> None:
    settings = toy_run.model_copy(update={"diffusion": FLOW})
    assert TrainSettings.parse(settings.canonical()) == settings
    assert settings.digest != toy_run.digest
    ema = train_to(settings, toy_latents, 5, tmp_path / "states", Runtime(device=CPU)).export_path(5, "ema.safetensors")
    assert load_checkpoint(ema)[1].diffusion == FLOW
    files = PartFiles(ema, toy_vae, tmp_path / "part.npz", tmp_path / "first.npz", tmp_path / "grid.png")
    sample_part(flow_sampling("heun"), 0, files, 4, CPU, 60.0)
    assert read_samples(files.samples).images.shape == (4, 32, 32, 1)
    other = flow_sampling("heun").model_copy(update={"diffusion": DiffusionSettings(), "sampler": "ddpm"})
    with pytest.raises(UserError, match=r"trained with objective flow.*says objective ddpm"):
        sample_part(other, 0, files, 4, CPU, 60.0)


def test_a_released_sit_loads_and_samples(toy_vae: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights in the layout of SiT's files: DiT's names, twice the channels, of which the first half is the velocity.

    Sampled by Euler as written out here, at times from 0 to 1 that are fed as they are.
    """
    from dit_scaling.variants import SIZES, Size

    monkeypatch.setitem(SIZES, "Released", Size(depth=1, hidden_size=32, num_heads=2))
    sit = randomize(
        create_model(Variant(size="Released", patch=2, depth=1, hidden_size=32, num_heads=2), 8, 3, 2), std=0.05
    )
    torch.save({"ema": sit.state_dict(), "args": None}, tmp_path / "SiT.pt")
    loaded = load_model(tmp_path / "SiT.pt", num_classes=3)
    settings = flow_sampling("euler").model_copy(update={"guidance_scale": 1.0})
    noise = SampleNoise(0, np.arange(4), (2, 8, 8), CPU)
    ours = sample_latents(PROCESS, loaded, settings, noise, torch.tensor([0, 1, 2, 0]))
    x = SampleNoise(0, np.arange(4), (2, 8, 8), CPU)()
    with torch.no_grad():
        for number in range(6):
            out = sit.eval()(x, torch.full((4,), number / 6), torch.tensor([0, 1, 2, 0]))
            x = x + out.chunk(2, dim=1)[0] / 6
    torch.testing.assert_close(ours, x, atol=1e-5, rtol=1e-5)
    files = PartFiles(
        tmp_path / "SiT.pt", toy_vae, tmp_path / "part.npz", tmp_path / "first.npz", tmp_path / "grid.png"
    )
    sample_part(flow_sampling("euler"), 0, files, 4, CPU, 60.0)
    assert read_samples(files.samples).labels.tolist() == [0, 1, 2, 0]
