"""Overfitting is named by a gate: a denoiser that knows the training images by heart, and one that learned nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dit_scaling.config.stages import TrainSettings
from dit_scaling.diffusion.process import PAPER_PROCESS, create_diffusion
from dit_scaling.health.check import at_least, at_most
from dit_scaling.health.gates.gate_verdict import judge
from dit_scaling.health.gates.overfitting import Fitted, check_overfitting, measure_fit
from dit_scaling.latents.reader import LatentReader
from dit_scaling.training.initial import initial_model

DIFFUSION = create_diffusion(PAPER_PROCESS)
CPU = torch.device("cpu")


class ByHeart(nn.Module):
    """The ideal denoiser of a finite set: eps of E[x_0 | x_t] where x_0 is one of the training latents."""

    num_classes = 3

    def __init__(self, reader: LatentReader) -> None:
        super().__init__()
        moments = torch.from_numpy(reader.moments(np.arange(len(reader)))[:, 0]).float()
        self.images = moments.chunk(2, dim=1)[0]

    def forward(self, x: Tensor, t: Tensor, _y: Tensor) -> Tensor:
        abar = DIFFUSION.alphas_cumprod[t].to(x)[:, None]
        signal, noise = abar.sqrt()[:, :, None, None, None], (1 - abar).sqrt()[:, :, None, None]
        distance = (x[:, None] - signal * self.images).square().sum(dim=(2, 3, 4))
        weights = torch.softmax(-distance / (2 * (1 - abar)), dim=1)
        x0 = torch.einsum("nm,mchw->nchw", weights, self.images)
        return torch.cat([(x - signal[:, 0] * x0) / noise, torch.zeros_like(x)], dim=1)


def test_what_is_known_by_heart_is_overfitted(split_latents: Path) -> None:
    fitted = measure_fit(split_latents, DIFFUSION, ByHeart(LatentReader(split_latents, "train")), CPU)
    assert fitted is not None
    check = check_overfitting(fitted)
    assert not check.passed


def test_what_learned_nothing_is_not(split_latents: Path, toy_run: TrainSettings) -> None:
    fitted = measure_fit(split_latents, DIFFUSION, initial_model(toy_run), CPU)
    assert fitted is not None
    assert check_overfitting(fitted).passed


def test_without_held_out_images_nothing_is_said(toy_latents: Path, toy_run: TrainSettings) -> None:
    assert measure_fit(toy_latents, DIFFUSION, initial_model(toy_run), CPU) is None


@pytest.mark.parametrize(
    ("fitted", "passed"),
    [
        (Fitted(0.04, 0.005), True),
        (Fitted(0.06, 0.005), False),
        (Fitted(0.06, 0.03), True),  # within three errors
    ],
)
def test_a_gap_counts_beyond_a_share_and_beyond_chance(fitted: Fitted, passed: bool) -> None:
    assert check_overfitting(fitted).passed is passed


def test_the_gate_names_it_and_judges_as_before() -> None:
    fault, near = at_most("loss", 1.0, 2.0, "diverges"), at_least("samples like data", 0.9, 0.8, "noise")
    overfitted = check_overfitting(Fitted(0.4, 0.01))
    plain, named = judge([fault], [near], 10, 10), judge([fault], [near], 10, 10, [overfitted])
    assert plain.status == named.status == "on track"
    assert named.reason.startswith(plain.reason)
    assert "overfits" in named.reason
