"""Does the sampler turn exact predictions into the data they belong to?"""

import itertools

import numpy as np
import torch
from torch import Tensor

from dit_scaling.config.stages import SampleSettings
from dit_scaling.diffusion.base import Process
from dit_scaling.diffusion.denoiser import Denoiser, normal_noise
from dit_scaling.diffusion.process import OBJECTIVES
from dit_scaling.diffusion.samplers import SAMPLERS, SamplingOptions
from dit_scaling.diffusion.spacing import STARTS_IN_NOISE
from dit_scaling.health.check import Check, at_most, within
from dit_scaling.health.preflight.formula_networks import FormulaNetwork, mixture, points
from dit_scaling.sampling.parts import sample_latents
from dit_scaling.sampling.sample_noise import SampleNoise, part_indices

INSIDE, OUTSIDE = 0.5, 3.0  # a latent within [-1, 1], and one that clipping would change
WEIGHTS, MEANS, STD = (0.3, 0.7), (-2.0, 1.5), 0.4  # of the mixture
STEPS = 250
SCALE = 1.5
SHAPE = (4, 8, 8)
NAMED = 64


def check_sampler(diffusion: Process, settings: SampleSettings) -> list[Check]:
    """The sampling stage's own call on networks by formula: as the study samples, and in steps that are enough."""
    return [*check_calls(diffusion, settings), *check_moments(diffusion, settings.sampler)]


def check_calls(diffusion: Process, settings: SampleSettings) -> list[Check]:
    """Constants that are predicted exactly, in the study's steps and guidance channels; and the noise of its parts."""
    plain = settings.model_copy(update={"guidance_scale": 1.0})
    network = FormulaNetwork(points(diffusion, torch.tensor([INSIDE])), num_classes=1)
    inside = _error(_sample(diffusion, network, plain), INSIDE)
    far = FormulaNetwork(points(diffusion, torch.tensor([OUTSIDE])), num_classes=1)
    outside = _error(_sample(diffusion, far, plain), OUTSIDE)
    return [
        _check_timesteps(diffusion, network.timesteps, settings),
        Check(
            "evaluation mode",
            "training mode" if any(network.modes) else "evaluation mode",
            "evaluation mode at every step",
            not any(network.modes),
            "the network samples in training mode: dropout or batch statistics would act",
        ),
        at_most(
            f"{OBJECTIVES[diffusion.settings.objective].target} channels in the sampler",
            inside,
            1e-3,
            "the sampler does not read the prediction from the first half of the network's channels, or feeds the "
            f"network another timestep (error of a constant latent {INSIDE:g} whose target is known exactly)",
        ),
        at_most(
            "x0 not clipped",
            outside,
            1e-2,
            f"the predicted latent is clipped to [-1, 1] (error of a constant latent {OUTSIDE:g}): right for pixels, "
            "ruin for latents",
        ),
        *_check_guidance(diffusion, settings),
        *_check_streams(settings),
    ]


def _sample(diffusion: Process, network: Denoiser, settings: SampleSettings) -> Tensor:
    indices = part_indices(settings, 0)[:2]
    noise = SampleNoise(settings.seed, indices, SHAPE, torch.device("cpu"))
    return sample_latents(diffusion, network, settings, noise, torch.zeros(len(indices), dtype=torch.long))


def _error(samples: Tensor, value: float) -> float:
    return float((samples - value).abs().max())


def _check_timesteps(diffusion: Process, fed: list[float], settings: SampleSettings) -> Check:
    """The network is fed the timesteps of the sampler's row, from the noisiest on, and starts from noise."""
    wanted = SAMPLERS[settings.sampler].timesteps(diffusion.settings, settings.steps)[::-1]
    strides = [abs(earlier - later) for earlier, later in itertools.pairwise(wanted)]
    seen = list(dict.fromkeys(fed))  # a sampler of two evaluations a step sees most times twice
    return Check(
        "timesteps of the sampler",
        f"{len(seen)} from {seen[0]:g} to {seen[-1]:g}",
        f"{len(wanted)} from {wanted[0]:g} to {wanted[-1]:g} in strides of {min(strides):g} to {max(strides):g}",
        len(fed) == SAMPLERS[settings.sampler].evaluations(settings.steps)
        and len(seen) == len(wanted)
        and np.allclose(seen, wanted, rtol=0, atol=1e-6)
        and diffusion.share_of(wanted[0]) >= STARTS_IN_NOISE,
        "the network is fed the index in the shortened chain in place of the original timestep it was trained with: "
        "every sample comes out as noise, while the loss is healthy",
    )


def check_moments(diffusion: Process, sampler: str) -> list[Check]:
    """Samples of a mixture of two Gaussians against its mean, standard deviation and weights.

    In as many steps as make every sampler exact, for a draw of each step's distribution and a solver of the ODE alike:
    with the study's few steps a sound solver need not be.
    """
    weights, means = torch.tensor(WEIGHTS), torch.tensor(MEANS)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(4, 1, 64, 64, generator=generator)
    network = FormulaNetwork(mixture(diffusion, weights, means, STD), num_classes=1)
    labels = torch.zeros(len(noise), dtype=torch.long)
    how = SamplingOptions(sampler, SAMPLERS[sampler].feasible_steps(diffusion.settings, STEPS))
    samples = diffusion.sample(network, noise, labels, how, normal_noise(noise, generator))
    mean = float(weights @ means)
    std = float((STD**2 + weights @ means**2 - mean**2) ** 0.5)
    meaning = "the sampler does not draw from the distribution that is predicted exactly: wrong coefficients or "
    return [
        within("mean of a known mixture", float(samples.mean()), mean - 0.08, mean + 0.08, f"{meaning}timesteps"),
        within("deviation of a known mixture", float(samples.std()), 0.96 * std, 1.04 * std, f"{meaning}variance"),
        within(
            "width of its narrow mode",
            float(samples[samples < 0].std()),
            0.9 * STD,
            1.1 * STD,
            f"{meaning}variance, noise added at the last step among them",
        ),
    ]


def _check_guidance(diffusion: Process, settings: SampleSettings) -> list[Check]:
    """Guided samples of two constants, one for the label and one for the null class, against their combination."""
    num_classes, (of_label, of_null) = settings.num_classes, (1.0, 0.25)
    values = torch.full((num_classes + 1,), of_label)
    values[num_classes] = of_null

    def sample(scale: float) -> tuple[Tensor, FormulaNetwork]:
        network = FormulaNetwork(points(diffusion, values), num_classes)
        guided = settings.model_copy(update={"guidance_scale": scale})
        return _sample(diffusion, network, guided), network

    scale = settings.guidance_scale if settings.guidance_scale != 1.0 else SCALE
    samples, network = sample(scale)
    count = SHAPE[0] if settings.guidance_channels is None else min(settings.guidance_channels, SHAPE[0])
    expected = torch.full(SHAPE, of_label)
    expected[:count] = of_null + scale * (of_label - of_null)
    null = max(network.labels)
    return [
        Check(
            "null class in guidance",
            str(null),
            str(num_classes),
            network.labels == {0, num_classes},
            "guidance asks for another label than the null class, whose number is that of classes: hard-coded for "
            "another data set, or off by one",
        ),
        at_most(
            "guidance 1 is conditional",
            _difference(sample(1.0 + 1e-6)[0], sample(1.0)[0]),
            1e-3,
            "guidance at scale 1 is not the conditional model: the halves of the batch are exchanged",
        ),
        at_most(
            f"guidance {scale:g}",
            _difference(samples, expected.expand_as(samples)),
            2e-2,
            "guidance does not move from the null class's prediction through the label's: wrong half of the batch, "
            "wrong channels, or scale off by one",
        ),
    ]


def _difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


def _check_streams(settings: SampleSettings) -> list[Check]:
    """Parts share no index, and neighbouring samples, also across parts, no noise."""
    parts = [part_indices(settings, part) for part in range(settings.parts)]
    together = torch.cat([torch.from_numpy(part) for part in parts])
    some = torch.cat([torch.from_numpy(part[:NAMED]) for part in parts[:NAMED]])[:: max(1, len(parts) // 4)]
    noise = SampleNoise(settings.seed, some.numpy(), (1, 1, 8), torch.device("cpu"))
    start, later = noise().flatten(1), noise().flatten(1)
    streams = torch.cat([start, later])
    return [
        Check(
            "parts of the samples",
            f"{len(torch.unique(together))} different of {len(together)}",
            f"{settings.num_samples} different",
            len(torch.unique(together)) == len(together) == settings.num_samples,
            "jobs or ranks draw the same samples, or leave some out: statistics count images twice",
        ),
        Check(
            "noise of the samples differs",
            f"{len(torch.unique(streams, dim=0))} different of {len(streams)} draws",
            "all different",
            len(torch.unique(streams, dim=0)) == len(streams),
            "samples, jobs or ranks start from the same noise: one seed for all of them",
        ),
    ]
