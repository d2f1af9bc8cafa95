"""Prediction of v, and the schedule that ends in noise alone, against diffusers and closed forms."""

import pytest
import torch
from pydantic import ValidationError
from test_diffusion import OF_DDPM, Recorder, explicit_kl, normal, randomize, tiny_dit, walked_by
from torch import Tensor

from dit_scaling.diffusion.process import DiffusionSettings, create_diffusion
from dit_scaling.diffusion.samplers import SamplingOptions
from dit_scaling.diffusion.schedule import SCHEDULES

V = DiffusionSettings(prediction="v_prediction")
ZERO = DiffusionSettings(schedule="zero-snr", prediction="v_prediction")


def test_the_last_timestep_of_zero_snr_is_noise_alone_and_the_first_is_linears() -> None:
    diffusion, linear = create_diffusion(ZERO), create_diffusion(V)
    assert diffusion.alphas_cumprod[-1] == 0
    assert diffusion.alphas_cumprod[0] == pytest.approx(float(linear.alphas_cumprod[0]), rel=1e-12)
    assert (diffusion.alphas_cumprod.diff() < 0).all()


def test_noise_cannot_be_predicted_where_nothing_else_is_left() -> None:
    with pytest.raises(ValidationError, match=r"diffusion\.prediction: epsilon .* zero-snr.*v_prediction"):
        DiffusionSettings(schedule="zero-snr")


@pytest.mark.parametrize("settings", [V, ZERO], ids=["linear", "zero-snr"])
def test_ddim_equals_diffusers(settings: DiffusionSettings) -> None:
    from diffusers import DDIMScheduler

    arguments = SCHEDULES[settings.schedule].diffusers
    assert arguments
    scheduler = DDIMScheduler(prediction_type="v_prediction", clip_sample=False, **arguments(1000))
    model = randomize(tiny_dit(), std=0.05).eval()
    x, y = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 2])
    ours = create_diffusion(settings).sample(model, x, y, SamplingOptions("ddim", 20))
    torch.testing.assert_close(ours, walked_by(scheduler, model, x, y, 20), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("settings", [V, ZERO], ids=["linear", "zero-snr"])
@pytest.mark.parametrize("sampler", OF_DDPM)
def test_a_network_that_knows_the_image_gives_it_back(sampler: str, settings: DiffusionSettings) -> None:
    diffusion, x0 = create_diffusion(settings), normal(2, 1, 4, 4)

    def knows(x: Tensor, t: Tensor, _y: Tensor) -> Tensor:
        v = diffusion.level(t).like(x).target_of_data(x0, x)
        return torch.cat([v, torch.zeros_like(v)], dim=1)

    samples = diffusion.sample(
        Recorder(knows), normal(2, 1, 4, 4, seed=1), torch.zeros(2).long(), SamplingOptions(sampler, 25)
    )
    torch.testing.assert_close(samples, x0, atol=1e-2 if sampler == "ddpm" else 1e-9, rtol=0)


def test_the_loss_is_the_error_of_v_and_the_bound_of_the_chain() -> None:
    """At the last timestep too, where the same bound by the noise would divide by zero."""
    diffusion, x0, noise = create_diffusion(ZERO), normal(4, 2, 4, 4), normal(4, 2, 4, 4, seed=1)
    t, output = torch.tensor([1, 300, 700, 999]), normal(4, 4, 4, 4, seed=2) * 0.3
    losses = diffusion.training_losses(lambda *_: output, x0, t, torch.zeros(4).long(), noise)
    abar = diffusion.alphas_cumprod[t].view(-1, 1, 1, 1)
    v = abar.sqrt() * noise - (1 - abar).sqrt() * x0
    torch.testing.assert_close(losses["mse"], (output[:, :2] - v).square().mean(dim=(1, 2, 3)))
    x_t = abar.sqrt() * x0 + (1 - abar).sqrt() * noise
    expected = explicit_kl(diffusion.respaced(1000), x0, x_t, output, t)
    torch.testing.assert_close(losses["vb"], expected, atol=1e-9, rtol=1e-6)
    assert losses["loss"].isfinite().all()
