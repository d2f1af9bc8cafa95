"""What one key alone cannot tell: settings that contradict each other, and settings to doubt."""

from typing import TYPE_CHECKING

from dit_scaling.errors import UserError
from dit_scaling.variants import PAPER_SIZES

if TYPE_CHECKING:
    from dit_scaling.config.study import Study

MNIST_LABELS = 10
MNIST_IMAGES = 5000


def impossible_settings(study: "Study") -> list[str]:
    """Combinations that no run can satisfy, one line each as `key: reason`."""
    problems = []
    data, vae, training = study.data, study.vae, study.training
    if data.source == "mnist" and data.classes != MNIST_LABELS:
        problems.append(f"data.classes: {data.classes}, but the digits have {MNIST_LABELS} labels")
    if data.source == "mnist" and data.held_out >= MNIST_IMAGES:
        problems.append(f"data.held_out: {data.held_out} leaves no training image of {MNIST_IMAGES}")
    if data.image_size % vae.downsampling:
        problems.append(f"data.image_size: {data.image_size} is not divisible by the VAE's factor {vae.downsampling}")
    if vae.source == "trained" and any(width % vae.norm_groups for width in vae.block_channels):
        problems.append(f"vae.norm_groups: {vae.norm_groups} does not divide every width of vae.block_channels")
    if len(set(study.variants)) < len(study.variants):
        problems.append("variants: a variant is listed twice")
    for overridden in study.sizes.keys() & PAPER_SIZES.keys():
        problems.append(f"sizes.{overridden}: the paper's sizes cannot be redefined; choose another name")
    for name in study.variants:
        problems.extend(_impossible_variant(study, name))
    for name in study.claims.bottlenecks:
        if name not in study.variants:
            problems.append(f"claims.bottlenecks: {name} is not one of the variants")
    for milestone in training.milestones:
        if milestone > training.steps:
            problems.append(f"training.milestones: {milestone} is beyond the last step {training.steps}")
    if len(set(training.seeds)) < len(training.seeds):
        problems.append("training.seeds: a seed is listed twice")
    if study.sampling.parts > study.sampling.num_samples:
        problems.append(f"sampling.parts: {study.sampling.parts} is more than num_samples")
    if study.metrics.kid_subset_size > study.sampling.num_samples:
        problems.append(
            f"metrics.kid_subset_size: {study.metrics.kid_subset_size} is more than "
            f"sampling.num_samples {study.sampling.num_samples}"
        )
    return problems


def _impossible_variant(study: "Study", name: str) -> list[str]:
    try:
        variant = study.variant(name)
    except UserError as error:
        return [f"variants: {error}"]
    problems = []
    if study.latent_size % variant.patch:
        problems.append(f"variants: {name}: latent size {study.latent_size} is not divisible by patch {variant.patch}")
    if variant.width % variant.heads:
        problems.append(f"sizes.{variant.size}: width {variant.width} is not divisible by {variant.heads} heads")
    if variant.width % 4:
        problems.append(f"sizes.{variant.size}: width {variant.width} is not divisible by 4 (2-D sin-cos positions)")
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
            "dimensions; the floor line is mostly bias"
        )
    chosen = [study.variant(name) for name in study.variants]
    if len({variant.size for variant in chosen}) < 2:
        doubts.append("variants: only one size, claim 1 cannot be tested")
    if len({variant.patch for variant in chosen}) < 2:
        doubts.append("variants: only one patch, claim 2 cannot be tested")
    for variant in chosen:
        patch_dim = variant.patch**2 * study.vae.latent_channels
        stated = variant.size in PAPER_SIZES or variant.name in study.claims.bottlenecks
        if patch_dim * 2 > variant.width and not stated:
            doubts.append(
                f"variants: {variant.name}: a patch has {patch_dim} numbers for a width of {variant.width}; the "
                "network can hardly carry its noise through; state it under claims.bottlenecks or drop it"
            )
    if sampling.guidance_scales[0] != 1.0:
        doubts.append(
            f"sampling.guidance_scales: the verdicts rest on {sampling.guidance_scales[0]}; the paper's comparison "
            "uses no guidance (1.0)"
        )
    return doubts
