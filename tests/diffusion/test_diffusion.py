"""Diffusion against diffusers' schedulers, closed forms in float64, and data whose denoiser is known exactly."""

import dataclasses
import functools
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from dit_scaling.common.errors import UserError
from dit_scaling.diffusion.chain import Chain
from dit_scaling.diffusion.denoiser import normal_noise
from dit_scaling.diffusion.likelihood import discretized_gaussian_nll
from dit_scaling.diffusion.process import PAPER_PROCESS, DiffusionSettings, create_diffusion
from dit_scaling.diffusion.samplers import SAMPLERS, SamplingOptions, ddim
from dit_scaling.diffusion.schedule import SCHEDULES
from dit_scaling.diffusion.spacing import strided_timesteps
from dit_scaling.diffusion.walk import Step
from dit_scaling.models import DiT, create_model
from dit_scaling.variants import Variant
from oracles import randomize

PAPER = SamplingOptions()
DIFFUSION = create_diffusion(PAPER_PROCESS)
BETAS = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
ABAR = (1 - BETAS).cumprod(0)
OF_DDPM = sorted(name for name, row in SAMPLERS.items() if row.objective == "ddpm")


def process(schedule: str, num_timesteps: int = 1000) -> DiffusionSettings:
    """Of noise, or of v where a schedule ends in noise alone."""
    prediction = "v_prediction" if SCHEDULES[schedule].ends_in_noise else "epsilon"
    return DiffusionSettings(schedule=schedule, num_timesteps=num_timesteps, prediction=prediction)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def tiny_dit(in_channels: int = 4) -> DiT:
    variant = Variant(size="Tiny", patch=4, depth=1, hidden_size=32, num_heads=2)
    return create_model(variant, input_size=8, num_classes=10, in_channels=in_channels)


class Recorder(nn.Module):
    """Stands in for a network: returns what ``output`` makes of (x, t, y) and notes each call."""

    def __init__(self, output: Callable[[Tensor, Tensor, Tensor], Tensor], num_classes: int = 10) -> None:
        super().__init__()
        self.output = output
        self.num_classes = num_classes
        self.calls: list[tuple[Tensor, Tensor, Tensor, bool]] = []

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        self.calls.append((x, t, y, self.training))
        return self.output(x, t, y)


def sample(model: nn.Module, noise: Tensor, y: Tensor, how: SamplingOptions = PAPER, seed: int = 1) -> Tensor:
    """Samples of the paper's process, the noise of the steps from ``seed``."""
    return DIFFUSION.sample(model, noise, y, how, normal_noise(noise, generator(seed)))


def zeros(x: Tensor, _t: Tensor, _y: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(x), torch.zeros_like(x)], dim=1)


# Chain


def test_250_steps_visit_the_papers_timesteps() -> None:
    steps = DIFFUSION.respaced(250).timesteps.tolist()
    assert steps[:4] == [0, 4, 8, 12]
    assert steps[-2:] == [995, 999]
    assert len(set(steps)) == 250


@given(st.integers(2, 1000))
@settings(deadline=None)
def test_spacing_equals_diffusers(num_steps: int) -> None:
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(timestep_spacing="linspace")
    scheduler.set_timesteps(num_steps)
    assert DIFFUSION.respaced(num_steps).timesteps.tolist() == scheduler.timesteps.tolist()[::-1]


@pytest.mark.parametrize("num_steps", [0, 1, 1001])
def test_impossible_numbers_of_steps_are_refused(num_steps: int) -> None:
    with pytest.raises(UserError, match=f"in {num_steps} steps"):
        DIFFUSION.respaced(num_steps)
    with pytest.raises(UserError, match=f"in {num_steps} steps"):
        DIFFUSION.respaced(num_steps, "ddim")


@pytest.mark.parametrize(("num_steps", "better"), [(600, 500), (374, 333)])
def test_ddim_that_would_start_from_half_an_image_is_refused(num_steps: int, better: int) -> None:
    with pytest.raises(UserError, match=f"choose {better} steps"):
        strided_timesteps(PAPER_PROCESS, num_steps)
    assert strided_timesteps(PAPER_PROCESS, better)[-1] > 990


@pytest.mark.parametrize(
    ("num_steps", "complaint", "better"),
    [
        (500, "would visit two timesteps of 1000 from 987 on, the noisiest that schedule cosine lets", 495),
        (250, "would visit two timesteps of 1000 from 987 on", 248),
        (374, "would start at timestep 746 of 1000, where a part of the image is still there", 330),
    ],
)
def test_ddim_says_which_end_its_steps_miss(num_steps: int, complaint: str, better: int) -> None:
    with pytest.raises(UserError, match=f"DDIM in {num_steps} steps {complaint}.*: choose {better} steps"):
        strided_timesteps(process("cosine"), num_steps)


@given(schedule=st.sampled_from(sorted(SCHEDULES)), num_timesteps=st.integers(21, 1200), share=st.floats(0, 1))
@settings(deadline=None)
def test_ddim_accepts_the_number_of_steps_that_it_names(schedule: str, num_timesteps: int, share: float) -> None:
    diffusion = process(schedule, num_timesteps)
    num_steps = 2 + round(share * (diffusion.sampled_timesteps - 2))
    try:
        assert len(set(strided_timesteps(diffusion, num_steps))) == num_steps
    except UserError as error:
        named = re.search(r"choose (\d+) steps", str(error))
        assert named
        assert len(set(strided_timesteps(diffusion, int(named[1])))) == int(named[1])


def test_a_diffusion_too_short_for_linear_betas_is_refused() -> None:
    assert create_diffusion(DiffusionSettings(num_timesteps=21)).betas.max() < 1
    with pytest.raises(ValidationError, match="20 are too few for schedule linear, which needs 21"):
        DiffusionSettings(num_timesteps=20)


def bayes_posterior(chain: Chain, x0: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """q(x_{t-1} | x_t, x_0) at indices 1.. by Bayes' rule: prior N(sqrt(abar') x0, 1 - abar'), then one noising step.

    ``x0`` and ``x`` are (S - 1, 1, 1, 1), one sample for each index.
    """
    abar = ABAR[chain.timesteps].view(-1, 1, 1, 1)
    previous, alpha = abar[:-1], abar[1:] / abar[:-1]
    prior_precision, step_precision = 1 / (1 - previous), alpha / (1 - alpha)
    variance = 1 / (prior_precision + step_precision)
    mean = variance * (prior_precision * previous.sqrt() * x0 + step_precision * x / alpha.sqrt())
    return mean, variance


@pytest.mark.parametrize("num_steps", [7, 250, 1000])
def test_reverse_steps_are_the_bayes_posterior_in_float64(num_steps: int) -> None:
    chain = DIFFUSION.respaced(num_steps)
    index = torch.arange(1, num_steps)
    x0, eps = normal(num_steps - 1, 1, 1, 1), normal(num_steps - 1, 1, 1, 1, seed=1)
    abar = ABAR[chain.timesteps[1:]].view(-1, 1, 1, 1)
    x = abar.sqrt() * x0 + (1 - abar).sqrt() * eps
    mean, variance = bayes_posterior(chain, x0, x)
    beta = 1 - abar / ABAR[chain.timesteps[:-1]].view(-1, 1, 1, 1)

    lowest = chain.p_mean_variance(torch.cat([eps, -torch.ones_like(eps)], dim=1), x, index)
    torch.testing.assert_close(lowest.mean, mean, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(lowest.log_variance, variance.log(), atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(lowest.pred_x0, x0, atol=1e-10, rtol=1e-10)
    highest = chain.p_mean_variance(torch.cat([eps, torch.ones_like(eps)], dim=1), x, index)
    torch.testing.assert_close(highest.log_variance, beta.log(), atol=1e-10, rtol=1e-10)


def test_the_last_step_returns_x0_and_borrows_its_lowest_variance_from_t_1() -> None:
    chain = DIFFUSION.respaced(1000)
    x, eps = normal(2, 1, 2, 2), normal(2, 1, 2, 2, seed=1)
    step = chain.p_mean_variance(torch.cat([eps, -torch.ones_like(eps)], dim=1), x, 0)
    torch.testing.assert_close(step.mean, (x - BETAS[0].sqrt() * eps) / (1 - BETAS[0]).sqrt(), atol=1e-10, rtol=1e-10)
    at_1 = chain.p_mean_variance(torch.cat([eps, -torch.ones_like(eps)], dim=1), x, 1)
    assert torch.equal(step.log_variance, at_1.log_variance)


def test_reverse_steps_equal_diffusers() -> None:
    """Their float32 tables are the limit: 1e-5 from t = 50, 1e-3 below."""
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(
        variance_type="learned_range", timestep_spacing="linspace", clip_sample=False, beta_schedule="linear"
    )
    scheduler.set_timesteps(250)
    chain = DIFFUSION.respaced(250)
    x, eps, v = (4 * normal(2, 4, 4, 4, seed=seed).float() for seed in (1, 2, 3))
    output = torch.cat([eps, v.tanh()], dim=1)
    for index, t in enumerate(chain.timesteps.tolist()):
        theirs = scheduler.step(output, t, x, generator=generator(index))
        mean, log_variance, pred_x0 = chain.p_mean_variance(output, x, index)
        noise = torch.randn(output.shape[0], 4, 4, 4, generator=generator(index)) if index > 0 else torch.zeros(1)
        ours = mean + torch.exp(0.5 * log_variance) * noise
        tolerance = 1e-5 if t >= 50 else 1e-3
        scale = max(1.0, theirs.prev_sample.abs().max().item())
        torch.testing.assert_close(ours / scale, theirs.prev_sample / scale, atol=tolerance, rtol=tolerance)
        torch.testing.assert_close(pred_x0, theirs.pred_original_sample, atol=1e-3, rtol=tolerance)


# Training loss


def test_the_loss_of_an_untrained_network_is_1_01() -> None:
    model = tiny_dit()
    x0 = torch.randn(1000, 4, 8, 8, generator=generator())
    noise = torch.randn(1000, 4, 8, 8, generator=generator(1))
    with torch.no_grad():
        losses = DIFFUSION.training_losses(model, x0, torch.arange(1000), torch.zeros(1000).long(), noise)
    assert all(losses[name].shape == (1000,) for name in ("loss", "mse", "vb"))
    assert losses["loss"].mean().item() == pytest.approx(1.01, abs=0.03)
    assert losses["mse"].mean().item() == pytest.approx(1, abs=0.01)


def explicit_kl(chain: Chain, x0: Tensor, x_t: Tensor, output: Tensor, t: Tensor) -> Tensor:
    """The bound at t > 0 as torch.distributions has it, in bits per dimension: (N,)."""
    abar = chain.alphas_cumprod
    means, variances = zip(
        *(bayes_posterior_at(int(step), x0[n], x_t[n], abar) for n, step in enumerate(t)), strict=True
    )
    predicted = chain.p_mean_variance(output, x_t, t)
    posterior = Normal(torch.stack(means), torch.stack(variances).sqrt())
    reverse = Normal(predicted.mean, torch.exp(0.5 * predicted.log_variance))
    return kl_divergence(posterior, reverse).mean((1, 2, 3)) / math.log(2)


def bayes_posterior_at(t: int, x0: Tensor, x_t: Tensor, abar: Tensor = ABAR) -> tuple[Tensor, Tensor]:
    previous, alpha = abar[t - 1], abar[t] / abar[t - 1]
    beta = 1 - alpha
    variance = 1 / (1 / (1 - previous) + alpha / beta)
    return variance * (previous.sqrt() * x0 / (1 - previous) + alpha.sqrt() * x_t / beta), variance.expand_as(x0)


@pytest.fixture
def problem() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x0, noise, network output (requires grad) and timesteps above 0, float64."""
    t = torch.tensor([1, 2, 10, 100, 500, 998, 999])
    output = 0.5 * normal(7, 4, 3, 3, seed=3)
    return normal(7, 2, 3, 3), normal(7, 2, 3, 3, seed=1), output.requires_grad_(), t


def test_the_bound_is_the_divergence_from_the_posterior(problem: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    x0, noise, output, t = problem
    losses = DIFFUSION.training_losses(lambda *_: output, x0, t, torch.zeros_like(t), noise)
    abar = ABAR[t].view(-1, 1, 1, 1)
    x_t = abar.sqrt() * x0 + (1 - abar).sqrt() * noise
    detached = torch.cat([output[:, :2].detach(), output[:, 2:]], dim=1)
    expected = explicit_kl(DIFFUSION.respaced(1000), x0, x_t, detached, t)
    torch.testing.assert_close(losses["vb"], expected, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(losses["mse"], (output[:, :2] - noise).square().mean((1, 2, 3)))
    torch.testing.assert_close(losses["loss"], losses["mse"] + losses["vb"])

    (ours,) = torch.autograd.grad(losses["vb"].sum(), output)
    (theirs,) = torch.autograd.grad(expected.sum(), output)
    torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=1e-9)
    assert not ours[:, :2].any(), "the bound must not train the noise"
    assert ours[:, 2:].any()


def test_at_t_0_the_bound_is_the_decoders_likelihood() -> None:
    x0, noise, output = normal(3, 2, 3, 3).clamp(-0.9, 0.9), normal(3, 2, 3, 3, seed=1), normal(3, 4, 3, 3, seed=2)
    t = torch.tensor([0, 7, 0])
    vb = DIFFUSION.training_losses(lambda *_: output, x0, t, torch.zeros_like(t), noise)["vb"]
    x_t = ABAR[0].sqrt() * x0 + (1 - ABAR[0]).sqrt() * noise
    mean, log_variance, _ = DIFFUSION.respaced(1000).p_mean_variance(output, x_t, 0)
    upper, lower = ((x0 + edge - mean) / torch.exp(0.5 * log_variance) for edge in (1 / 255, -1 / 255))
    expected = -(torch.special.ndtr(upper) - torch.special.ndtr(lower)).log().mean((1, 2, 3)) / math.log(2)
    torch.testing.assert_close(vb[[0, 2]], expected[[0, 2]], atol=0, rtol=0.01)
    alone = DIFFUSION.training_losses(lambda *_: output[1:2], x0[1:2], t[1:2], t[1:2], noise[1:2])["vb"]
    torch.testing.assert_close(vb[1:2], alone)


def test_gradients_at_t_0_are_finite_and_spare_the_noise() -> None:
    x0, noise, output = normal(2, 2, 3, 3), normal(2, 2, 3, 3, seed=1), normal(2, 4, 3, 3, seed=2).requires_grad_()
    t = torch.tensor([0, 500])
    losses = DIFFUSION.training_losses(lambda *_: output, x0, t, t, noise)
    (of_loss,) = torch.autograd.grad(losses["loss"].sum(), output, retain_graph=True)
    (of_bound,) = torch.autograd.grad(losses["vb"].sum(), output)
    assert torch.isfinite(of_loss).all()
    assert of_loss.flatten(1).any(dim=1).all()
    assert not of_bound[:, :2].any()
    assert of_bound[:, 2:].flatten(1).any(dim=1).all()


@given(st.floats(-1.5, 1.5), st.floats(-5, 0))
@settings(deadline=None)
def test_the_decoders_probabilities_sum_to_one(mean: float, log_scale: float) -> None:
    levels = torch.linspace(-1, 1, 256, dtype=torch.float64)
    nll = discretized_gaussian_nll(levels, torch.tensor(mean), torch.tensor(log_scale))
    assert torch.exp(-nll).sum().item() == pytest.approx(1, abs=1e-9)


def test_networks_may_run_in_bfloat16() -> None:
    model = randomize(tiny_dit())
    x0, t = torch.randn(4, 4, 8, 8, generator=generator()), torch.tensor([0, 10, 500, 999])
    noise = torch.randn(4, 4, 8, 8, generator=generator(1))
    full = DIFFUSION.training_losses(model, x0, t, t % 10, noise)["loss"]
    with torch.autocast("cpu", torch.bfloat16):
        half = DIFFUSION.training_losses(model, x0, t, t % 10, noise)["loss"]
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full, rtol=0.05, atol=0.05)


# Sampling


def gaussian_denoiser(chain: Chain, means: Tensor, std: float) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The exact reverse of a chain for data N(means[y], std^2): its noise and, as v, its variance.

    Bayes again: x_{t-1} has prior N(sqrt(abar') mu, abar' std^2 + 1 - abar'), x_t adds one noising step.
    """
    timesteps = chain.timesteps.tolist()

    def predict(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        index = timesteps.index(int(t[0]))
        abar, mean = ABAR[int(t[0])], means[y].view(-1, 1, 1, 1)
        eps = (1 - abar).sqrt() * (x - abar.sqrt() * mean) / (abar * std**2 + 1 - abar)
        previous = ABAR[timesteps[index - 1]] if index > 0 else torch.tensor(1.0, dtype=torch.float64)
        alpha = abar / previous
        log_variance = -torch.log(1 / (previous * std**2 + 1 - previous) + alpha / (1 - alpha))
        log_min = torch.log((1 - alpha) * (1 - previous) / (1 - abar))
        v = 2 * (log_variance - log_min) / ((1 - alpha).log() - log_min) - 1 if index > 0 else torch.tensor(0.0)
        return torch.cat([eps, v.expand_as(x)], dim=1)

    return predict


def test_the_exact_denoiser_of_gaussian_classes_reproduces_their_moments() -> None:
    means, std, n = torch.tensor([-2.0, 0.5, 3.0], dtype=torch.float64), 0.5, 10_000
    y = torch.arange(3).repeat_interleave(n)
    model = Recorder(gaussian_denoiser(DIFFUSION.respaced(25), means, std))
    x = sample(model, normal(3 * n, 1, 1, 1), y, SamplingOptions(steps=25))
    for label, mean in enumerate(means.tolist()):
        samples = x[y == label]
        assert samples.mean().item() == pytest.approx(mean, abs=5 * std / n**0.5 + 0.02)
        assert samples.std().item() == pytest.approx(std, rel=5 / (2 * n) ** 0.5 + 0.005)


def test_guidance_shifts_gaussian_classes_away_from_the_null_class() -> None:
    """Eps is linear in the class mean here, so scale s samples N(null + s (mean - null), std^2)."""
    means, std, n = torch.tensor([1.0, -0.5], dtype=torch.float64), 0.5, 20_000
    model = Recorder(gaussian_denoiser(DIFFUSION.respaced(25), means, std), num_classes=1)
    y = torch.zeros(n).long()
    x = sample(model, normal(n, 1, 1, 1), y, SamplingOptions(steps=25, guidance_scale=1.5))
    assert x.mean().item() == pytest.approx(-0.5 + 1.5 * 1.5, abs=0.04)
    assert x.std().item() == pytest.approx(std, rel=0.03)


def test_the_exact_denoiser_of_a_mixture_reproduces_it() -> None:
    """Data 0.3 N(-1, 0.2^2) + 0.7 N(1, 0.2^2), noise predicted from the score, posterior variance."""
    means, weights, std, n = (torch.tensor(v, dtype=torch.float64) for v in ([-1.0, 1.0], [0.3, 0.7], 0.2, 4000))

    def predict(x: Tensor, t: Tensor, _y: Tensor) -> Tensor:
        abar = ABAR[int(t[0])]
        variance = abar * std**2 + 1 - abar
        distance = x - abar.sqrt() * means  # (N, 1, 1, 2)
        posterior = (weights.log() - distance.square() / (2 * variance)).softmax(dim=3)
        eps = (1 - abar).sqrt() * (posterior * distance).sum(dim=3, keepdim=True) / variance
        return torch.cat([eps, torch.zeros_like(eps)], dim=1)

    x = sample(Recorder(predict), normal(int(n), 1, 1, 1), torch.zeros(int(n)).long())
    right = x[x > 0]
    assert len(right) / int(n) == pytest.approx(0.7, abs=0.03)
    assert right.mean().item() == pytest.approx(1, abs=0.02)
    assert right.std().item() == pytest.approx(0.2, rel=0.06)


def test_the_network_is_fed_original_timesteps_from_noisy_to_clean() -> None:
    model = Recorder(zeros)
    DIFFUSION.sample(model, torch.zeros(3, 1, 2, 2), torch.tensor([4, 5, 6]))
    descending = DIFFUSION.respaced(250).timesteps.tolist()[::-1]
    assert [t.tolist() for _, t, _, _ in model.calls] == [[t] * 3 for t in descending]
    assert all(y.tolist() == [4, 5, 6] for _, _, y, _ in model.calls)


def test_the_last_step_adds_no_noise() -> None:
    draws: list[Tensor] = []

    def step_noise() -> Tensor:
        draws.append(torch.ones(1, 1, 2, 2))
        return draws[-1]

    start = torch.zeros(1, 1, 2, 2)
    DIFFUSION.sample(Recorder(zeros), start, torch.zeros(1).long(), SamplingOptions(steps=7), step_noise)
    assert len(draws) == 6


def label_as_output(x: Tensor, _t: Tensor, y: Tensor) -> Tensor:
    """Predicts the label in every channel of noise and variance range, scaled down."""
    return (y.view(-1, 1, 1, 1) / 10.0).expand(-1, 2 * x.shape[1], *x.shape[2:])


@pytest.mark.parametrize(("guidance_channels", "guided"), [(3, 3), (None, 4), (1, 1)])
def test_guidance_leaves_other_channels_and_the_variance(guidance_channels: int | None, guided: int) -> None:
    model = Recorder(label_as_output)
    noise, y = torch.zeros(2, 4, 2, 2), torch.tensor([2, 7])
    ours = sample(model, noise, y, SamplingOptions(steps=5, guidance_scale=4.0, guidance_channels=guidance_channels))
    x, t, labels, _ = model.calls[0]
    assert len(model.calls) == 5
    assert (len(x), len(t)) == (4, 4)
    assert labels.tolist() == [2, 7, 10, 10], "num_classes is the null class"

    def by_hand(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        output = label_as_output(x, t, y).clone()
        output[:, :guided] = 1.0 + 4.0 * (output[:, :guided] - 1.0)
        return output

    torch.testing.assert_close(ours, sample(Recorder(by_hand), noise, y, SamplingOptions(steps=5)))


def test_scale_1_is_the_plain_conditional_model() -> None:
    model = Recorder(label_as_output)
    sample(model, torch.zeros(2, 4, 2, 2), torch.tensor([2, 7]), SamplingOptions(steps=5))
    assert all(len(x) == 2 and y.tolist() == [2, 7] for x, _, y, _ in model.calls)


def test_two_channels_are_guided_whole() -> None:
    """Latents with fewer channels than the paper's three."""
    noise, y = torch.zeros(2, 2, 2, 2), torch.tensor([2, 7])
    three, every = (
        sample(Recorder(label_as_output), noise, y, SamplingOptions("ddpm", 5, 4.0, channels)) for channels in (3, None)
    )
    assert torch.equal(three, every)


@pytest.mark.parametrize("training", [True, False])
def test_sampling_evaluates_and_leaves_the_model_as_it_was(training: bool) -> None:
    model = Recorder(zeros).train(training)
    few = SamplingOptions(steps=3)
    x = DIFFUSION.sample(model, torch.zeros(1, 1, 2, 2), torch.zeros(1).long(), few)
    assert [was_training for *_, was_training in model.calls] == [False] * 3
    assert model.training is training
    weight = torch.ones(1, requires_grad=True)
    assert torch.autograd.grad((weight * x).sum(), weight), "samples are ordinary tensors"

    def fails(_x: Tensor, _t: Tensor, _y: Tensor) -> Tensor:
        raise RuntimeError

    broken = Recorder(fails).train(training)
    with pytest.raises(RuntimeError):
        DIFFUSION.sample(broken, torch.zeros(1, 1, 2, 2), torch.zeros(1).long(), few)
    assert broken.training is training


def test_a_generator_repeats_and_a_noise_source_is_independent_of_the_batch() -> None:
    model, y = randomize(tiny_dit(), std=0.05), torch.tensor([1, 2, 3, 4])
    start = torch.randn(4, 4, 8, 8, generator=generator())
    five = SamplingOptions(steps=5)
    once, again, other = (sample(model, start, y, five, seed) for seed in (1, 1, 2))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)

    def samples(indices: list[int]) -> Tensor:
        streams = [generator(index) for index in indices]
        return DIFFUSION.sample(
            model,
            start[indices],
            y[indices],
            five,
            lambda: torch.stack([torch.randn(4, 8, 8, generator=stream) for stream in streams]),
        )

    torch.testing.assert_close(samples([0, 1, 2, 3])[2:3], samples([2]), atol=1e-5, rtol=1e-5)


# Against diffusers


def walked_by(scheduler: Any, model: DiT, x: Tensor, y: Tensor, steps: int, **options: Any) -> Tensor:
    """The latents to which a scheduler of diffusers takes ``x``."""
    scheduler.set_timesteps(steps)
    with torch.no_grad():
        for t in scheduler.timesteps:
            eps = model(x, t.expand(len(x)), y)[:, : x.shape[1]]
            x = scheduler.step(eps, int(t), x, **options).prev_sample
    return x


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_ddim_equals_diffusers(eta: float, monkeypatch: pytest.MonkeyPatch) -> None:
    from diffusers import DDIMScheduler

    monkeypatch.setitem(SAMPLERS, "eta", dataclasses.replace(SAMPLERS["ddim"], walk=functools.partial(ddim, eta=eta)))
    model = randomize(tiny_dit(), std=0.05).eval()
    x, y = torch.randn(2, 4, 8, 8, generator=generator()), torch.tensor([1, 2])
    ours = sample(model, x, y, SamplingOptions("eta", 20))
    scheduler = DDIMScheduler(clip_sample=False, beta_start=1e-4, beta_end=0.02)
    theirs = walked_by(scheduler, model, x, y, 20, eta=eta, generator=generator(1))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("steps", [2, 10, 20, 50])
@pytest.mark.parametrize("num_timesteps", [1000, 500])
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_dpm_solver_equals_diffusers(steps: int, num_timesteps: int, schedule: str) -> None:
    """Their tables are float32: 1e-4, and 1e-3 where they end in hardly a signal. Cosine is cut at our limit."""
    from diffusers import DPMSolverMultistepScheduler

    diffusion = create_diffusion(DiffusionSettings(schedule=schedule, num_timesteps=num_timesteps))
    model = randomize(tiny_dit(), std=0.05).eval()
    x, y = torch.randn(2, 4, 8, 8, generator=generator()), torch.tensor([1, 2])
    scheduler = DPMSolverMultistepScheduler(
        num_timesteps, trained_betas=diffusion.betas.tolist(), lambda_min_clipped=-4.0 if schedule == "cosine" else -5.1
    )
    theirs = walked_by(scheduler, model, x, y, steps)
    assert diffusion.respaced(steps, "dpm-solver").timesteps.tolist() == scheduler.timesteps.tolist()[::-1]
    ours = diffusion.sample(model, x, y, SamplingOptions("dpm-solver", steps))
    tolerance = 1e-4 if schedule == "linear" else 1e-3
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)


def test_dpm_solver_is_of_second_order() -> None:
    """On Gaussian data, whose ODE has a closed form: twice the steps, at most a third of the error."""
    std = 0.5

    def predict(x: Tensor, t: Tensor, _y: Tensor) -> Tensor:
        abar = ABAR[int(t[0])]
        eps = (1 - abar).sqrt() * x / (abar * std**2 + 1 - abar)
        return torch.cat([eps, torch.zeros_like(eps)], dim=1)

    def error(sampler: str, steps: int) -> float:
        how = SamplingOptions(sampler, steps)
        x = DIFFUSION.sample(Recorder(predict), torch.ones(1, 1, 1, 1, dtype=torch.float64), torch.zeros(1).long(), how)
        start = ABAR[int(DIFFUSION.respaced(steps, sampler).timesteps[-1])]
        exact = std / (start * std**2 + 1 - start).sqrt()
        return abs(float(x - exact))

    assert error("dpm-solver", 40) < error("dpm-solver", 20) / 3
    assert error("dpm-solver", 20) < error("ddim", 20) / 2


# Tables


@pytest.mark.parametrize("num_timesteps", [1000, 500, 40])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_is_diffusers(schedule: str, num_timesteps: int) -> None:
    """Theirs is float32: 1e-6, 1e-5 where it is rescaled, and of abar 1e-4, the rounding of a thousand factors."""
    from diffusers import DDPMScheduler

    diffusion, to_diffusers = create_diffusion(process(schedule, num_timesteps)), SCHEDULES[schedule].diffusers
    assert to_diffusers
    theirs = DDPMScheduler(num_timesteps, **to_diffusers(num_timesteps))
    assert diffusion.betas.dtype == diffusion.alphas_cumprod.dtype == torch.float64
    tolerance = 1e-5 if schedule == "zero-snr" else 1e-6
    torch.testing.assert_close(diffusion.betas.float(), theirs.betas, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(diffusion.alphas_cumprod.float(), theirs.alphas_cumprod, atol=1e-7, rtol=1e-4)


def test_cosine_is_the_formula_of_its_paper() -> None:
    """Nichol and Dhariwal 2021, equation 17, up to the last betas, which are clipped."""
    abar = create_diffusion(DiffusionSettings(schedule="cosine")).alphas_cumprod
    u = torch.arange(1001, dtype=torch.float64) / 1000
    f = torch.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
    torch.testing.assert_close(abar[:-1], f[1:-1] / f[0], atol=1e-12, rtol=1e-9)
    assert float(abar[-1] / abar[-2]) == pytest.approx(1 - 0.999)


@pytest.mark.parametrize("num_timesteps", [1000, 500, 37])
def test_samplers_of_cosine_start_where_under_two_percent_of_an_image_is_left(num_timesteps: int) -> None:
    diffusion = create_diffusion(DiffusionSettings(schedule="cosine", num_timesteps=num_timesteps))
    log_ratio = (diffusion.alphas_cumprod / (1 - diffusion.alphas_cumprod)).log() / 2
    count = diffusion.settings.sampled_timesteps
    assert count == int((log_ratio >= -4.0).sum())
    assert diffusion.alphas_cumprod[count:].sqrt().max() < 0.0184


def test_a_schedule_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(ValidationError, match="'linear', 'cosine' or 'zero-snr'"):
        DiffusionSettings(schedule="square")


@pytest.mark.parametrize("sampler", OF_DDPM)
@pytest.mark.parametrize(("num_timesteps", "steps"), [(1000, 250), (500, 50), (40, 7)])
def test_every_sampler_keeps_to_its_row(sampler: str, num_timesteps: int, steps: int) -> None:
    """Timesteps, noise and variance are what the row says, which checks and pictures rely on; each step is seen."""
    row, draws, seen = SAMPLERS[sampler], list[Tensor](), list[Step]()
    diffusion = create_diffusion(DiffusionSettings(num_timesteps=num_timesteps))

    def step_noise() -> Tensor:
        draws.append(torch.ones(1, 2, 2, 2))
        return draws[-1]

    def run(variance: float) -> Tensor:
        model = Recorder(lambda x, _t, _y: torch.cat([0.5 * x, torch.full_like(x, variance)], dim=1))
        x = diffusion.sample(
            model,
            torch.ones(1, 2, 2, 2),
            torch.zeros(1).long(),
            SamplingOptions(sampler, steps),
            step_noise,
            seen.append,
        )
        fed = [int(t) for _, t, _, _ in model.calls]
        assert fed == [step.timestep for step in seen]
        assert fed == list(row.timesteps(diffusion.settings, steps))[::-1]
        assert torch.equal(seen[-1].x, x)
        seen.clear()
        return x

    assert row.name == sampler
    assert (not torch.equal(run(-1.0), run(1.0))) == row.learned_variance
    assert bool(draws) == row.stochastic


@given(st.sampled_from(OF_DDPM), st.sampled_from(sorted(SCHEDULES)), st.integers(40, 1000), st.integers(5, 300))
@settings(deadline=None)
def test_feasible_steps_are_feasible(sampler: str, schedule: str, num_timesteps: int, wanted: int) -> None:
    of = process(schedule, num_timesteps)
    steps = SAMPLERS[sampler].feasible_steps(of, wanted)
    visited = SAMPLERS[sampler].timesteps(of, steps)
    assert len(set(visited)) == steps <= wanted
    assert 0 <= visited[0] <= visited[-1] < of.sampled_timesteps
    assert list(visited) == sorted(visited)
