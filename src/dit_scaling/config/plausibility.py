"""What one key alone cannot tell: settings that contradict each other, and settings to doubt."""

import math
from typing import TYPE_CHECKING

from dit_scaling.common.errors import UserError
from dit_scaling.config.image_settings import MNIST_IMAGES, MNIST_LABELS
from dit_scaling.diffusion.process import OBJECTIVES, PAPER_OBJECTIVE
from dit_scaling.diffusion.samplers import PAPER_SAMPLER, SAMPLERS
from dit_scaling.variants import FAMILIES, UNET, Variant, family_of, family_row, network_of

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
    problems += [
        f"variants: {name}: {training.objective} is the objective of the study; leave out @{training.objective}"
        for name in study.variants
        if f"@{training.objective}-" in name
    ]
    problems += _impossible_imports(study)
    redefined = [
        f"{row.sizes_key}.{name}"
        for row in FAMILIES.values()
        for name in sorted(getattr(study, row.sizes_key).keys() & row.sizes.keys())
    ]
    problems += [f"{key}: this size is shipped and cannot be redefined; choose another name" for key in redefined]
    for name in study.variants:
        problems.extend(_impossible_variant(study, name))
    for name in study.claims.bottlenecks:
        if name not in study.variants:
            problems.append(f"claims.bottlenecks: {name} is not one of the variants")
    lines = set(map(family_of, study.variants))
    for number, claim in enumerate(study.claims.families):
        problems += [
            f"claims.families.{number}: no variant is of family {family}; there are {', '.join(sorted(lines))}"
            for family in (claim.better, claim.than)
            if family not in lines
        ]
        if claim.better == claim.than:
            problems.append(f"claims.families.{number}: better and than are both {claim.better}; name two families")
    judged = {line for line in lines if network_of(line) != UNET}
    if len(judged) > 1 and "DiT" not in judged and not study.claims.families and study.laws is None:
        problems.append(
            f"variants: of the families {', '.join(sorted(judged))} none is DiT, on which claims 1 to 3 are judged; "
            "say under claims.families which is claimed to be better than which"
        )
    for name in study.checkpoints:
        if name not in study.variants:
            problems.append(f"checkpoints: {name} is not one of the variants")
    if study.checkpoints and len(training.seeds) > 1:
        problems.append("training.seeds: given checkpoints are of one training run each, so there can be one seed only")
    problems += _impossible_parametrisation(study)
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
    steps = (study.sampling.own_steps, *study.sampling.further_steps)
    if len(set(steps)) < len(steps):
        problems.append("sampling.steps: a number of steps is listed twice")
    if all(not _impossible_variant(study, name) for name in study.variants):
        problems += _impossible_samplers(study)
    kinds = [extractor.kind for extractor in study.metrics.extractors]
    for kind in sorted({kind for kind in kinds if kinds.count(kind) > 1}):
        problems.append(f"metrics.beside: {kind} is there twice; each kind of features makes columns of its own")
    return problems


def _impossible_imports(study: "Study") -> list[str]:
    """Imported latents are of a given VAE, and nothing is encoded."""
    if study.latents.source is None:
        return []
    problems = []
    if study.vae.source == "trained":
        problems.append("latents.source: imported latents are of a given VAE; name it with vae.source: pretrained")
    if study.latents.precision != "tf32":
        problems.append("latents.precision: nothing is encoded where latents.source is set; leave it out")
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
    return family_row(variant).problems(variant, study.latent_size)


def _impossible_parametrisation(study: "Study") -> list[str]:
    """muP's rules are those of DiT, whose heads must keep their width."""
    if study.training.parametrisation == "standard" or any(_impossible_variant(study, name) for name in study.variants):
        return []
    key, variants = "training.parametrisation", [study.variant(name) for name in study.trained]
    others = [variant.name for variant in variants if not isinstance(variant, Variant)]
    heads = {variant.hidden_size // variant.num_heads for variant in variants if isinstance(variant, Variant)}
    problems = [f"{key}: mup has rules for DiT only, not for {', '.join(others)}"] if others else []
    if len(heads) > 1:
        widths = ", ".join(map(str, sorted(heads)))
        problems.append(f"{key}: mup needs heads of one width, but hidden_size / num_heads is {widths}")
    return problems


def _impossible_samplers(study: "Study") -> list[str]:
    """A sampler for every objective, which can take the steps."""
    problems = []
    for objective in study.objectives:
        row, named = SAMPLERS[study.sampler(objective)], objective in study.sampling.samplers
        key = f"sampling.samplers.{objective}" if named else "sampling.sampler"
        known = OBJECTIVES[objective]
        if row.objective != objective:
            of = ", ".join(name for name in study.variants if study.objective(study.variant(name)) == objective)
            where = "" if objective == study.training.objective else f" under sampling.samplers: {{{objective}: ...}}"
            problems.append(
                f"{key}: {row.name} samples networks of objective {row.objective}, but the objective of {of} is "
                f"{objective}; choose {known.samplers_named}{where}"
            )
            continue
        for steps in (study.sampling.own_steps, *study.sampling.further_steps):
            try:
                row.timesteps(study.process(objective), steps)
            except UserError as error:
                problems.append(f"sampling.steps: {error}")
    problems += [
        f"sampling.samplers.{objective}: no variant has this objective"
        for objective in study.sampling.samplers
        if objective not in study.objectives
    ]
    return problems


def doubtful_settings(study: "Study") -> list[str]:
    """Settings that run but may not mean what one hopes, one line each as `key: reason`."""
    return [*([] if study.laws else _doubtful_evaluation(study)), *_doubtful_training(study)]


def _doubtful_evaluation(study: "Study") -> list[str]:
    """What is doubtful for distances and claims, of which a study for laws has none."""
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
    if len({variant.patch for variant in chosen}) < 2 and not study.claims.families:  # else they are what it asks
        doubts.append("variants: only one patch, claim 2 cannot be tested")
    if sampling.guidance_scales[0] != 1.0:
        doubts.append(
            f"sampling.guidance_scales: the verdicts rest on {sampling.guidance_scales[0]}; the paper's comparison "
            "uses no guidance (1.0)"
        )
    guided = [scale for scale in sampling.guidance_scales if scale != 1.0]
    if guided and study.trained and study.training.class_dropout_prob == 0:
        doubts.append(
            f"sampling.guidance_scales: {guided[0]:g} guides by the null class, which training.class_dropout_prob: 0 "
            "never trains; samples come out wrong. Leave it out, or drop some labels"
        )
    if study.training.objective == PAPER_OBJECTIVE and sampling.sampler != PAPER_SAMPLER:
        sampler = SAMPLERS[sampling.sampler]
        doubts.append(
            f"sampling.sampler: the verdicts rest on {sampler.label}, which is {sampler.note}; the paper uses "
            f"{PAPER_SAMPLER}"
        )
    return doubts


def _doubtful_training(study: "Study") -> list[str]:
    doubts = []
    chosen = [variant for name in study.variants if isinstance(variant := study.variant(name), Variant)]
    for variant in chosen:
        patch_dim = variant.patch**2 * study.vae.latent_channels
        if patch_dim / variant.hidden_size > FULLEST_WIDTH and variant.name not in study.claims.bottlenecks:
            doubts.append(
                f"variants: {variant.name}: a patch has {patch_dim} numbers for a hidden size of "
                f"{variant.hidden_size}; the network can hardly carry its noise through; "
                "state it under claims.bottlenecks or drop it"
            )
    training = study.training
    left = ema_share_left(training.steps, training.ema_decay, training.ema_ramp)
    if left > EMA_SHARE:
        doubts.append(
            f"training.ema_decay: {training.ema_decay} leaves {left:.0%} of the initial weights in the EMA after "
            f"{training.steps} steps; these predict no noise, and samples come out as noise. Lower it, or set ema_ramp"
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
