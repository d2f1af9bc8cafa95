"""What one key alone cannot tell: settings that contradict each other, and settings to doubt."""

import math
from typing import TYPE_CHECKING

from dit_scaling.common.errors import UserError
from dit_scaling.config.image_settings import MNIST_IMAGES, MNIST_LABELS
from dit_scaling.diffusion.samplers import PAPER_SAMPLER, SAMPLERS
from dit_scaling.variants import SIZES, UNET_SIZES, UNetVariant, Variant, unet_problems

if TYPE_CHECKING:
    from dit_scaling.config.study import Study

FULLEST_WIDTH = 256 / 384  # numbers of a patch over width in DiT-S/8, the fullest of the paper's variants
EMA_SHARE = 0.5  # of the initial weights in the EMA at the last step, above which samples are noise


def impossible_settings(study: "Study") -> list[str]:
    """Combinations that no run can satisfy, one line each as `key: reason`."""
    problems = []
    data, vae, training = study.data, study.vae, study.training
    if data.source == "mnist" and data.classes != MNIST_LABELS:
        problems.append(f"data.classes: {data.classes}, but the digits have {MNIST_LABELS} labels")
    if data.source == "mnist" and data.held_out >= MNIST_IMAGES:
        problems.append(f"data.held_out: {data.held_out} leaves no training image of {MNIST_IMAGES}")
    if data.source == "shapes" and data.held_out >= data.images:
        problems.append(f"data.held_out: {data.held_out} leaves no training image of data.images: {data.images}")
    if data.image_size % vae.downsampling:
        problems.append(f"data.image_size: {data.image_size} is not divisible by the VAE's factor {vae.downsampling}")
    if vae.source == "trained" and any(width % vae.norm_groups for width in vae.block_channels):
        problems.append(f"vae.norm_groups: {vae.norm_groups} does not divide every width of vae.block_channels")
    if len(set(study.variants)) < len(study.variants):
        problems.append("variants: a variant is listed twice")
    redefined = [f"sizes.{name}" for name in sorted(study.sizes.keys() & SIZES.keys())]
    redefined += [f"unet_sizes.{name}" for name in sorted(study.unet_sizes.keys() & UNET_SIZES.keys())]
    problems += [f"{key}: this size is shipped and cannot be redefined; choose another name" for key in redefined]
    for name in study.variants:
        problems.extend(_impossible_variant(study, name))
    for name in study.claims.bottlenecks:
        if name not in study.variants:
            problems.append(f"claims.bottlenecks: {name} is not one of the variants")
    for name in study.checkpoints:
        if name not in study.variants:
            problems.append(f"checkpoints: {name} is not one of the variants")
    if study.checkpoints and len(training.seeds) > 1:
        problems.append("training.seeds: given checkpoints are of one training run each, so there can be one seed only")
    if training.warmup_steps > training.steps:
        problems.append(
            f"training.warmup_steps: {training.warmup_steps} is longer than training ({training.steps} steps)"
        )
    for key, steps in (("milestones", training.milestones), ("gate_steps", training.gate_steps)):
        problems += [
            f"training.{key}: {s} is beyond the last step {training.steps}" for s in steps if s > training.steps
        ]
    if study.laws is not None:
        problems.extend(_impossible_laws(study))
    if len(set(training.seeds)) < len(training.seeds):
        problems.append("training.seeds: a seed is listed twice")
    if training.batch_size % study.resources.gpus_per_node:
        problems.append(
            f"training.batch_size: {training.batch_size} is not divisible by resources.gpus_per_node "
            f"{study.resources.gpus_per_node}"
        )
    if study.sampling.parts > study.sampling.num_samples:
        problems.append(f"sampling.parts: {study.sampling.parts} is more than num_samples")
    if study.metrics.kid_subset_size > study.sampling.num_samples:
        problems.append(
            f"metrics.kid_subset_size: {study.metrics.kid_subset_size} is more than "
            f"sampling.num_samples {study.sampling.num_samples}"
        )
    for key, images in (("data.held_out", data.held_out), ("sampling.num_samples", study.sampling.num_samples)):
        if images <= study.metrics.neighbours:
            problems.append(
                f"{key}: {images} images have no {study.metrics.neighbours} neighbours each (metrics.neighbours) for "
                "precision and recall"
            )
    if len(set(study.sampling.guidance_scales)) < len(study.sampling.guidance_scales):
        problems.append("sampling.guidance_scales: a scale is listed twice")
    try:
        SAMPLERS[study.sampling.sampler].timesteps(study.diffusion, study.sampling.steps)
    except UserError as error:
        problems.append(f"sampling.steps: {error}")
    kinds = [extractor.kind for extractor in study.metrics.extractors]
    for kind in sorted({kind for kind in kinds if kinds.count(kind) > 1}):
        problems.append(f"metrics.beside: {kind} is there twice; each kind of features makes columns of its own")
    return problems


def _impossible_laws(study: "Study") -> list[str]:
    """Budgets that name other variants, or leave out some; and budgets that are one in whole steps."""
    assert study.laws is not None
    compared = [name for budget in study.laws.budgets for name in budget.variants]
    problems = [f"laws.budgets: {name} is not one of the variants" for name in compared if name not in study.variants]
    problems += [f"laws.budgets: {name} stands in none" for name in study.variants if name not in compared]
    if study.checkpoints:
        problems.append("laws: given checkpoints have no budget; leave out `checkpoints`")
    for name in study.variants if not problems else ():
        if len(study.exports(name)) < compared.count(name):
            problems.append(f"laws.budgets: two budgets of {name} are the same number of steps; set them further apart")
    return problems


def _impossible_variant(study: "Study", name: str) -> list[str]:
    try:
        variant = study.variant(name)
    except UserError as error:
        return [f"variants: {error}"]
    if isinstance(variant, UNetVariant):
        return [f"variants: {name}: {problem}" for problem in unet_problems(variant, study.latent_size)]
    problems = []
    if study.latent_size % variant.patch:
        problems.append(f"variants: {name}: latent size {study.latent_size} is not divisible by patch {variant.patch}")
    if variant.hidden_size % variant.num_heads:
        problems.append(
            f"sizes.{variant.size}: hidden_size {variant.hidden_size} is not divisible by num_heads {variant.num_heads}"
        )
    if variant.hidden_size % 4:
        problems.append(
            f"sizes.{variant.size}: hidden_size {variant.hidden_size} is not divisible by 4 (2-D sin-cos positions)"
        )
    return problems


def doubtful_settings(study: "Study") -> list[str]:
    """Settings that run but may not mean what one hopes, one line each as `key: reason`."""
    doubts = []
    extractor, sampling = study.metrics.extractor, study.sampling
    if sampling.num_samples < extractor.feature_dim:
        doubts.append(
            f"sampling.num_samples: {sampling.num_samples} samples are fewer than the {extractor.feature_dim} feature "
            "dimensions behind the headline distance; its covariance is singular and the value mostly bias"
        )
    if study.data.held_out < extractor.feature_dim:
        doubts.append(
            f"data.held_out: {study.data.held_out} images are fewer than the {extractor.feature_dim} feature "
            "dimensions; the floor is mostly bias"
        )
    chosen = [variant for name in study.variants if isinstance(variant := study.variant(name), Variant)]
    if len({variant.size for variant in chosen}) < 2:
        doubts.append("variants: only one size, claim 1 cannot be tested")
    if len({variant.patch for variant in chosen}) < 2:
        doubts.append("variants: only one patch, claim 2 cannot be tested")
    for variant in chosen:
        patch_dim = variant.patch**2 * study.vae.latent_channels
        if patch_dim / variant.hidden_size > FULLEST_WIDTH and variant.name not in study.claims.bottlenecks:
            doubts.append(
                f"variants: {variant.name}: a patch has {patch_dim} numbers for a hidden size of "
                f"{variant.hidden_size}; the network can hardly carry its noise through; "
                "state it under claims.bottlenecks or drop it"
            )
    if sampling.guidance_scales[0] != 1.0:
        doubts.append(
            f"sampling.guidance_scales: the verdicts rest on {sampling.guidance_scales[0]}; the paper's comparison "
            "uses no guidance (1.0)"
        )
    training = study.training
    left = ema_share_left(training.steps, training.ema_decay, training.ema_ramp)
    if left > EMA_SHARE:
        doubts.append(
            f"training.ema_decay: {training.ema_decay} leaves {left:.0%} of the initial weights in the EMA after "
            f"{training.steps} steps; these predict no noise, and samples come out as noise. Lower it, or set ema_ramp"
        )
    if sampling.sampler != PAPER_SAMPLER:
        sampler = SAMPLERS[sampling.sampler]
        doubts.append(
            f"sampling.sampler: the verdicts rest on {sampler.label}, which is {sampler.note}; the paper uses "
            f"{PAPER_SAMPLER}"
        )
    return doubts


def ema_share_left(steps: int, decay: float, ramp: bool) -> float:
    """The share of the initial weights in an EMA after ``steps`` updates, in closed form.

    The product of the decays: decay^steps; while the ramp (1 + n) / (10 + n) is below it, its factors telescope to
    (n + 1)! 10! / (n + 10)!.
    """
    ramped = 0
    if ramp:
        ramped = steps if decay >= 1 else min(steps, max(0, math.floor((10 * decay - 1) / (1 - decay))))
    rising = math.lgamma(ramped + 2) + math.lgamma(11) - math.lgamma(ramped + 11)
    return math.exp(rising) * decay ** (steps - ramped)
