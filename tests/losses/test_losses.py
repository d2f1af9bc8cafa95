"""Held-out loss: closed forms of Gaussian latents, diffusers' scheduler, and draws that all networks share."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.schedulers import scheduling_ddpm
from torch import Tensor, nn

from dit_scaling.common.errors import UserError
from dit_scaling.config.stages import LossSettings, TrainSettings
from dit_scaling.diffusion.process import PAPER_PROCESS, FlowSettings, create_diffusion
from dit_scaling.latents.reader import LatentReader
from dit_scaling.losses.columns import held_out_columns, mean_and_error
from dit_scaling.losses.draws import Draws, draw_batches, stratified_timesteps
from dit_scaling.losses.image_losses import ImageLosses, image_losses, prior_bits
from dit_scaling.losses.loss_names import BAND_COLUMNS, HEADLINE
from dit_scaling.losses.run_losses import LossFiles, losses_of, measure_run
from dit_scaling.models.checkpoints import CheckpointHeader, save_model
from dit_scaling.training.initial import initial_model

DIFFUSION = create_diffusion(PAPER_PROCESS)
CPU = torch.device("cpu")
SD = 0.3  # of the Gaussian latents: nearly all of them on the 256 levels from -1 to 1


class Posterior(nn.Module):
    """The exact reverse of latents from N(0, SD^2): the mean noise, and the variance of x_{t-1} given x_t."""

    num_classes = 1

    def forward(self, x: Tensor, t: Tensor, _y: Tensor) -> Tensor:
        abar = DIFFUSION.alphas_cumprod[t].to(x)[:, None, None, None]
        variance = abar * SD**2 + 1 - abar  # of x_t
        eps = (1 - abar).sqrt() * x / variance
        before = torch.where(t > 0, DIFFUSION.alphas_cumprod[(t - 1).clamp(min=0)], 1.0).to(x)[:, None, None, None]
        alpha = abar / before
        exact = (before * SD**2 + 1 - before) * (1 - alpha) / variance
        c = DIFFUSION.visiting(range(1000)).coefficients(t, x)
        return torch.cat([eps, (2 * (exact.log() - c.log_variance_min) / c.log_variance_range - 1).expand_as(x)], dim=1)


def gaussian_draws(images: int, draws: int, size: int = 8) -> Draws:
    """Latents from N(0, SD^2), the same in each draw of an image."""
    rng = torch.Generator().manual_seed(0)
    x0 = SD * torch.randn((images, 4, size, size), generator=rng).expand(draws + 1, -1, -1, -1, -1)
    t = torch.from_numpy(stratified_timesteps(np.arange(images), draws, 1000, 0))
    t = torch.cat([torch.zeros_like(t[:1]), t])
    return Draws(x0, torch.randn(x0.shape, generator=rng), t, torch.zeros(images, dtype=torch.int64))


def test_the_exact_reverse_of_gaussian_latents_loses_what_theory_says() -> None:
    losses = image_losses(DIFFUSION, Posterior(), [gaussian_draws(512, 40)], CPU)
    abar = DIFFUSION.alphas_cumprod.numpy()
    # Posterior variance of eps given x_t, averaged over all timesteps.
    mse = float((abar * SD**2 / (abar * SD**2 + 1 - abar)).mean())
    assert losses.mse.mean() == pytest.approx(mse, rel=0.01)
    # The reverse of a Gaussian is Gaussian: its bound is the entropy of the latents on levels of 2/255.
    entropy = math.log2(SD * math.sqrt(2 * math.pi * math.e) * 255 / 2)
    assert losses.bound.mean() == pytest.approx(entropy, abs=0.06)  # 0.013 of it by the tanh form of the last term
    assert losses.hybrid.mean() == pytest.approx(mse + (losses.bound - losses.prior).mean() / 1000, rel=0.01)
    low = float((abar * SD**2 / (abar * SD**2 + 1 - abar))[:100].mean())
    assert held_out_columns(losses)[BAND_COLUMNS[0]] == pytest.approx(low, rel=0.02)


def test_terms_of_the_bound_are_diffusers_kl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduling_ddpm, "randn_tensor", lambda shape, **_: torch.zeros(shape, dtype=torch.float64))
    scheduler = DDPMScheduler(
        1000, trained_betas=DIFFUSION.betas.numpy(), variance_type="learned_range", clip_sample=False
    )
    scheduler.alphas_cumprod = DIFFUSION.alphas_cumprod  # in float64
    rng = torch.Generator().manual_seed(1)
    x0, noise = torch.randn((2, 1, 2, 4, 4), generator=rng, dtype=torch.float64)
    output = torch.randn((1, 4, 4, 4), generator=rng, dtype=torch.float64).clamp(-1, 1)
    for t in (1, 17, 400, 999):
        x = scheduler.add_noise(x0, noise, torch.tensor([t]))
        # The true posterior is the scheduler's step with the true noise and the smallest variance.
        exact = torch.cat([noise, -torch.ones_like(noise)], dim=1)
        steps = [
            torch.distributions.Normal(
                scheduler.step(each, t, x).prev_sample,
                (0.5 * scheduler._get_variance(t, predicted_variance=each[:, 2:])).exp(),
            )
            for each in (exact, output)
        ]
        kl = float(torch.distributions.kl_divergence(*steps).mean()) / math.log(2)
        drawn = (each[None].expand(2, -1, -1, -1, -1) for each in (x0, noise))
        batch = Draws(*drawn, torch.tensor([[0], [t]]), torch.zeros(1).long())
        found = image_losses(DIFFUSION, _Fixed(output), [batch], CPU)
        assert found.kl[0, 0] == pytest.approx(kl, rel=1e-6)


class _Fixed(nn.Module):
    """Says the same whatever it sees."""

    num_classes = 1

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, *_: Tensor) -> Tensor:
        return self.output


def test_the_priors_term_is_a_kl_to_the_normal_distribution() -> None:
    x0 = torch.randn((3, 2, 4, 4), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    abar = float(DIFFUSION.alphas_cumprod[-1])
    normal = torch.distributions.Normal
    kl = torch.distributions.kl_divergence(normal(abar**0.5 * x0, (1 - abar) ** 0.5), normal(0.0, 1.0))
    np.testing.assert_allclose(prior_bits(DIFFUSION, x0), kl.mean(dim=(1, 2, 3)) / math.log(2), rtol=1e-6)


@pytest.mark.parametrize("draws", [1, 5, 10, 20])
def test_timesteps_are_stratified_and_cover_all_evenly(draws: int) -> None:
    t = stratified_timesteps(np.arange(400), draws, 1000, seed=3)
    np.testing.assert_array_equal(t // (1000 // draws), np.arange(draws)[:, None].repeat(400, axis=1))
    counts = np.histogram(t, bins=50, range=(0, 1000))[0]
    assert np.ptp(counts) <= 0.4 * counts.mean()
    assert t.max() <= 999
    assert not np.array_equal(t, stratified_timesteps(np.arange(400), draws, 1000, seed=4))


def test_draws_are_functions_of_seed_and_image(toy_latents: Path) -> None:
    reader = LatentReader(toy_latents, "train")
    few, many = (next(iter(draw_batches(reader, images, 4, DIFFUSION, 0))) for images in (5, 24))
    for name in ("x0", "noise", "t"):
        assert torch.equal(getattr(few, name), getattr(many, name)[:, :5])
    other = next(iter(draw_batches(reader, 5, 4, DIFFUSION, 1)))
    assert not torch.equal(few.noise, other.noise)


def test_columns_have_the_standard_error_over_images() -> None:
    rng = np.random.default_rng(0)
    losses = ImageLosses(
        t=stratified_timesteps(np.arange(200), 10, 1000, 0),
        squared_error=rng.normal(0.2, 0.05, (10, 200)),
        kl=np.full((10, 200), 0.001),
        last=np.full(200, 2.0),
        prior=np.full(200, 0.01),
        num_timesteps=1000,
    )
    columns = held_out_columns(losses)
    assert columns[f"{HEADLINE}_se"] == pytest.approx(0.05 / math.sqrt(2000), rel=0.2)
    assert columns["held_out_bound"] == pytest.approx(0.01 + 1000 * 0.001 + 2.0)
    assert columns["held_out_hybrid"] == pytest.approx(columns[HEADLINE] + 0.001 + 0.002)
    assert mean_and_error(losses.last) == (2.0, 0.0)


def test_all_exports_of_a_run_are_measured_and_deleted_weights_left_out(
    split_latents: Path, toy_run: TrainSettings, tmp_path: Path
) -> None:
    header = CheckpointHeader(toy_run.variant, 8, 3, 2, "digest", 4, {})
    save_model(tmp_path / "ema.safetensors", initial_model(toy_run), header)
    settings = LossSettings(training="digest", steps=(4, 8), images=500, draws=2, seed=0)
    files = LossFiles(split_latents, tmp_path / "losses.json", tmp_path / "losses.npz")
    ema = tmp_path / "ema.safetensors"
    measure_run(settings, {4: ema, 8: ema}, {8: ema}, files, CPU)
    steps = json.loads(files.record.read_text())["steps"]
    assert list(steps) == ["4", "8"]
    # A network whose last layer is zero predicts no noise: it loses the noise's own square.
    batch = next(iter(draw_batches(LatentReader(split_latents, "held_out"), 12, 2, DIFFUSION, 0)))
    assert steps["4"][HEADLINE] == pytest.approx(float(batch.noise[1:].square().mean()), rel=1e-5)
    assert steps["4"]["training_mse"] == pytest.approx(steps["4"][HEADLINE])  # of the same noise
    assert "raw_held_out_mse" not in steps["4"]
    raw = {name.removeprefix("raw_"): value for name, value in steps["8"].items() if name.startswith("raw_")}
    assert raw == {name: value for name, value in steps["8"].items() if name.startswith("held_out_")}  # equal weights
    assert HEADLINE in raw
    assert "held_out_bound" in raw
    with np.load(files.images) as images:
        assert images["mse"][1].mean() == pytest.approx(steps["8"][HEADLINE])
    assert len(losses_of(settings, ema, [LatentReader(split_latents, "held_out")], CPU)) == 1


def test_a_flows_held_out_loss_is_that_of_its_velocity(split_latents: Path) -> None:
    """Of a network that predicts nothing: the power of the velocity, without a bound; bands count from data on."""
    flow = create_diffusion(FlowSettings(objective="flow"))
    reader = LatentReader(split_latents, "held_out")
    batches = list(draw_batches(reader, 5, 4, flow, 0))
    nothing = _Fixed(torch.zeros(5, 4, 8, 8))
    losses = image_losses(flow, nothing, batches, torch.device("cpu"))
    (batch,) = batches
    power = (batch.x0[1:] - batch.noise[1:]).square().mean(dim=(2, 3, 4)).mean(dim=0)
    np.testing.assert_allclose(losses.mse, power, rtol=1e-5)
    assert not losses.kl.any()
    assert not losses.prior.any()
    np.testing.assert_array_equal(losses.t, np.floor(1000 * (1 - batch.t[1:].numpy())))
    assert "held_out_bound" not in held_out_columns(losses)


def test_few_draws_leave_bands_out_and_exploded_weights_are_named(
    split_latents: Path, toy_run: TrainSettings, tmp_path: Path
) -> None:
    settings = LossSettings(training="digest", steps=(4,), images=2, draws=1, seed=0)
    files, ema = (
        LossFiles(split_latents, tmp_path / "losses.json", tmp_path / "losses.npz"),
        tmp_path / "ema.safetensors",
    )
    model, header = initial_model(toy_run), CheckpointHeader(toy_run.variant, 8, 3, 2, "digest", 4, {})
    save_model(ema, model, header)
    measure_run(settings, {4: ema}, {}, files, CPU)
    (columns,) = json.loads(files.record.read_text())["steps"].values()
    assert HEADLINE in columns
    assert 0 < len(columns.keys() & set(BAND_COLUMNS)) < len(BAND_COLUMNS)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1e30)
    save_model(ema, model, header)
    with pytest.raises(UserError, match=r"ema\.safetensors: held_out_mse is NaN or infinite"):
        measure_run(settings, {4: ema}, {}, files, CPU)
