"""How a study differs from the paper's protocol (arXiv 2212.09748, sections 4 and 5), setting by setting."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from dit_scaling.common.words import count
from dit_scaling.config.claims_settings import ProtocolSetting
from dit_scaling.config.image_settings import ImageFiles
from dit_scaling.config.study import Study
from dit_scaling.data import imagenet
from dit_scaling.diffusion.process import OBJECTIVES, PAPER_OBJECTIVE, PAPER_PROCESS, DiffusionSettings
from dit_scaling.diffusion.samplers import PAPER_SAMPLER, SAMPLERS
from dit_scaling.diffusion.schedule import SCHEDULES
from dit_scaling.latents.manifest import Origin
from dit_scaling.variants import Variant

Level = Literal["green", "amber", "red"]

PRECISIONS = {"float32": "float32", "tf32": "float32, TF32 products", "bfloat16": "bfloat16 autocast"}
SIZES = ("S", "B", "L", "XL")  # Table 1
GUIDANCE_SCALES = (1.0, 1.25, 1.5)  # of the published figures; the comparison of variants has the first
FEATURES: ProtocolSetting = "features of the distance"
HARMLESS = ("sizes", "patches", "labels of the samples")
FEW_HELD_OUT = 0.01
"""Share of the images that a study may hold out and still be put beside Table 4."""


@dataclass(frozen=True)
class ProtocolRow:
    """One setting: the study's, the paper's, whether they are the same, what a difference means, and why it is there.

    ``reason`` is the study's own (config section ``deviations``); empty where none is given or the setting is the same.
    Where the paper's setting is not ``known``, the study's is neither the same nor a deviation.
    """

    setting: ProtocolSetting
    ours: str
    paper: str
    same: bool
    meaning: str
    reason: str = ""
    known: bool = True

    @property
    def deviates(self) -> bool:
        return self.known and not self.same


@dataclass(frozen=True)
class ProtocolStatus:
    """Green: the paper's protocol. Amber: deviations, each with its meaning. Red: settings to doubt."""

    level: Level
    sentence: str
    doubts: tuple[str, ...]


def compare_protocol(study: Study, images: int | None, imported: Origin | None = None) -> tuple[ProtocolRow, ...]:
    """Every setting of the study beside the paper's.

    Args:
        study: the study.
        images: number of images of its source, training and held-out; None where unknown.
        imported: what is known of imported latents, where it has some.
    """
    rows = (
        *_data_rows(study, images),
        _draws_row(study, imported),
        *_model_rows(study),
        *_training_rows(study),
        *_evaluation_rows(study),
    )
    return tuple(replace(row, reason=study.deviations.get(row.setting, "")) if row.deviates else row for row in rows)


def doubtful_reasons(study: Study, rows: Sequence[ProtocolRow]) -> list[str]:
    """Deviations without a reason, together, and each reason without a deviation, as `key: complaint`."""
    unexplained = [f"'{row.setting}'" for row in rows if _is_unexplained(row)]
    verb = "deviates" if len(unexplained) == 1 else "deviate"
    missing = [f"deviations: {', '.join(unexplained)} {verb} from the paper without a reason"] if unexplained else []
    idle = [row for row in rows if not row.deviates and row.setting in study.deviations]
    why = {True: "is the paper's", False: "the paper's is not known"}
    return [*missing, *(f"deviations: '{row.setting}' has a reason, but {why[row.known]}" for row in idle)]


def judge_protocol(study: Study, rows: Sequence[ProtocolRow]) -> ProtocolStatus:
    """One line on the protocol as a whole."""
    deviations = [row.setting for row in rows if row.deviates]
    doubts = tuple(study.warnings())
    differing = f"{len(deviations)} of {len(rows)} settings differ from the paper's"
    unexplained = sum(_is_unexplained(row) for row in rows)
    if unexplained:
        differing += f" ({unexplained} without a reason)"
    if doubts:
        noun = "setting is" if len(doubts) == 1 else "settings are"
        return ProtocolStatus("red", f"{len(doubts)} {noun} to doubt before any verdict; {differing}.", doubts)
    if deviations:
        return ProtocolStatus(
            "amber",
            f"{differing}: the verdicts say whether the claims hold in this study; its distances cannot be put beside "
            "the paper's.",
            (),
        )
    return ProtocolStatus(
        "green", "Every setting that is known is the paper's: the distances can be put beside Table 4.", ()
    )


def _is_unexplained(row: ProtocolRow) -> bool:
    return row.deviates and not row.reason


def hindrances(study: Study, rows: Sequence[ProtocolRow]) -> tuple[str, ...]:
    """The settings that keep a study's distances from being put beside Table 4; none where they can be.

    Which variants were run and how often each label was drawn do not count, and neither does whose program computes
    Inception's features, a few images held out, nor what else is sampled beside the images without guidance.
    """
    harmless = set(HARMLESS)
    if study.data.held_out <= FEW_HELD_OUT * imagenet.TRAINING:
        harmless.add("held-out images")
    if study.metrics.extractor.kind == "inception":
        harmless.add(FEATURES)
    if study.sampling.guidance_scales[0] == 1.0:
        harmless.add("guidance scale")
    return tuple(row.setting for row in rows if row.deviates and row.setting not in harmless)


def _row(setting: ProtocolSetting, ours: str, paper: str, meaning: str, same: bool | None = None) -> ProtocolRow:
    equal = ours == paper if same is None else same
    return ProtocolRow(setting, ours, paper, equal, "" if equal else meaning)


def _data_rows(study: Study, images: int | None) -> Iterable[ProtocolRow]:
    data, vae = study.data, study.vae
    size, held_out = data.image_size, data.held_out
    name = {
        "mnist": "MNIST digits",
        "shapes": "generated shapes",
        "image_folder": "an image folder",
        "webdataset": "webdataset tars",
        "parquet": "Parquet files",
    }[data.source]
    many = "images not counted" if images is None else f"{images:,} images"
    reading, as_adm = "", True
    if isinstance(data, ImageFiles):
        turned = "turned upright by EXIF" if data.exif_transpose else "EXIF ignored"
        below = f"{data.background} under transparent pixels" if data.background else "transparency ignored"
        reading, as_adm = f", {turned}, {below}", not data.exif_transpose and data.background is None
    yield _row(
        "data",
        f"{name}, {size}x{size}, {many}, {count(data.classes, 'class')}{reading}",
        f"ImageNet, 256x256, {imagenet.TRAINING:,} images, 1,000 classes, EXIF and transparency ignored",
        "other images, whose distances have another scale",
        (images, size, data.classes, data.channels) == (imagenet.TRAINING, 256, 1000, 3) and as_adm,
    )
    share = "" if images is None else f", {held_out / images:.1%} of the images"
    yield _row(
        "held-out images",
        f"{held_out:,} not trained on{share}" if study.trained else "none, as nothing is trained",
        "none",
        "fewer images to learn from; they give the floors of the distance",
        not study.trained,
    )
    yield _row(
        "horizontal flip",
        "image or mirror, equal chance" if study.training.horizontal_flip else "none",
        "image or mirror, equal chance",
        "right for images that a mirror makes another class; half as many different images",
    )
    ours = f"trained on the study's images, f = {vae.downsampling}"
    if vae.source == "pretrained":
        ours = f"{vae.path}, f = {vae.downsampling}"
    yield _row(
        "VAE",
        ours,
        "sd-vae-ft-mse, f = 8",
        "another latent space, with another floor: see the VAE's reconstructions",
        vae.source == "pretrained" and "sd-vae-ft-mse" in vae.path and vae.downsampling == 8,
    )
    grid = study.latent_size
    yield _row(
        "latent grid",
        f"{vae.latent_channels}x{grid}x{grid}",
        "4x32x32",
        "patches, tokens and Gflops compare only with models on the same grid",
    )


def _draws_row(study: Study, imported: Origin | None) -> ProtocolRow:
    paper = ours = "afresh at every step"
    if study.latents.source is not None and imported is None:
        ours = "of imported latents that were not seen"
    elif imported is not None and not imported.log_variance:
        ours = f"the mean at every step (no log-variance in the imported latents: {imported.each})"
    return _row(
        "draws of the posterior", ours, paper, "each image is the same latent at every step: fewer different inputs"
    )


def _model_rows(study: Study) -> Iterable[ProtocolRow]:
    variants = [variant for name in study.variants if isinstance(variant := study.variant(name), Variant)]
    sizes = list(dict.fromkeys(variant.size for variant in variants))
    patches = sorted({variant.patch for variant in variants}, reverse=True)
    yield _row(
        "sizes",
        ", ".join(sizes),
        ", ".join(SIZES),
        "the claims are judged on these sizes only",
        set(sizes) == set(SIZES),
    )
    tokens = [(study.latent_size // patch) ** 2 for patch in patches]
    yield _row(
        "patches",
        ", ".join(f"{patch} ({number} tokens)" for patch, number in zip(patches, tokens, strict=True)),
        "8 (16 tokens), 4 (64 tokens), 2 (256 tokens)",
        "the claims are judged on these numbers of tokens only",
    )


def _training_rows(study: Study) -> Iterable[ProtocolRow]:
    training = study.training
    shorter = "shorter runs are further from converged" if training.steps < 400_000 else "longer runs"
    yield _row("training steps", f"{training.steps:,}", "400,000", f"{shorter}; claims can come out otherwise")
    gradients = "noisier gradients, fewer" if training.batch_size < 256 else "smoother gradients, more"
    yield _row("batch size", f"{training.batch_size:,}", "256", f"{gradients} images at equal steps")
    yield _row("optimiser", _describe_adamw(*training.betas), _describe_adamw(0.9, 0.999), "another optimiser")
    yield _row(
        "learning rate",
        f"{training.learning_rate:g}, constant",
        "0.0001, constant",
        "one rate for all variants, but the best rate depends on the width",
    )
    yield _row(
        "warm-up",
        f"{training.warmup_steps:,} steps, linear" if training.warmup_steps else "none",
        "none",
        "fewer steps at the full rate, the same for all variants",
    )
    yield _row("weight decay", f"{training.weight_decay:g}", "0", "regularises, the more the larger the weights")
    clip = training.gradient_clip
    yield _row("gradient clipping", "none" if clip is None else f"norm {clip:g}", "none", "dampens spikes of the loss")
    ramp = ", ramped as (1 + step) / (10 + step)" if training.ema_ramp else ""
    yield _row(
        "EMA of the weights",
        f"decay {training.ema_decay:g} every step{ramp}",
        "decay 0.9999 every step",
        "averages over another stretch of training; short runs must forget their start sooner",
    )
    yield _row(
        "class dropout", f"{training.class_dropout_prob:g}", "0.1", "changes how the unconditional model is trained"
    )
    yield ProtocolRow(
        "precision",
        _describe_precision(study),
        "not published (JAX on TPUs); the authors' PyTorch runs: float32 without TF32 products",
        same=False,
        meaning=(
            "rounds more; weights and EMA stay float32"
            if training.precision == "bfloat16"
            else "those PyTorch runs gave FID 18.1 for the paper's 19.5 (XL/2), 68.9 and 68.3 for 68.4 (B/4)"
        ),
        known=training.precision == "bfloat16",
    )
    yield _row(
        "noise schedule",
        _describe_process(study.diffusion),
        _describe_process(PAPER_PROCESS),
        "the loss weighs the noise levels otherwise; the same for all variants",
    )
    if study.objectives != (PAPER_OBJECTIVE,):
        yield _row(
            "objective",
            ", ".join(_describe_objective(study, name) for name in study.objectives),
            OBJECTIVES[PAPER_OBJECTIVE].label,
            "networks learn another target: their distances, not their losses, compare with the paper's",
        )
    if training.parametrisation == "mup":
        yield _row(
            "parametrisation",
            f"muP, base width {training.mup_base_width}",
            "standard",
            "initial weights and rates follow the width: one rate is as good at every width, if muP holds",
        )


def _describe_precision(study: Study) -> str:
    """Of training; of sampling and of the encoder, where these round more than it."""
    parts = [PRECISIONS[study.training.precision]]
    if study.sampling.precision == "bfloat16":
        parts.append("sampling in bfloat16 autocast")
    if study.latents.precision != "tf32":
        parts.append(f"encoder in {study.latents.precision} autocast")
    return "; ".join(parts)


def _describe_process(settings: DiffusionSettings) -> str:
    predicting = "" if settings.prediction == "epsilon" else ", predicting v"
    return f"{SCHEDULES[settings.schedule].label}, {settings.num_timesteps:,} timesteps{predicting}"


def _describe_objective(study: Study, objective: str) -> str:
    times = f", {study.training.flow_times} times" if objective == "flow" else ""
    return f"{OBJECTIVES[objective].label}{times}"


def _evaluation_rows(study: Study) -> Iterable[ProtocolRow]:
    sampling = study.sampling
    yield _row(
        "sampler",
        "; ".join(f"{SAMPLERS[study.sampler(name)].label}, {sampling.own_steps} steps" for name in study.objectives),
        f"{SAMPLERS[PAPER_SAMPLER].label}, 250 steps",
        "another discretisation of the same process, the same for all variants",
    )
    scales = sampling.guidance_scales
    yield _row(
        "guidance scale",
        ", ".join(f"{scale:g}" for scale in scales),
        f"{GUIDANCE_SCALES[0]:g} in the comparison, {GUIDANCE_SCALES[1]:g} and {GUIDANCE_SCALES[2]:g} beside it",
        "guidance trades diversity for fidelity; the verdicts are about the first scale",
        scales[0] == GUIDANCE_SCALES[0] and set(scales) <= set(GUIDANCE_SCALES),
    )
    yield _row(
        "samples per model",
        f"{sampling.num_samples:,}",
        "50,000",
        "the distance is biased upwards, more so with fewer samples",
    )
    yield _row(
        "labels of the samples",
        {"balanced": "every class equally often", "random": "drawn uniformly"}[sampling.labels],
        "drawn uniformly",
        "takes the chance of label counts out of the distance",
    )
    yield _features_row(study)


def _features_row(study: Study) -> ProtocolRow:
    extractor = study.metrics.extractor
    paper = "Inception-v3 pool, 2048-d (FID), ADM's evaluation suite"
    if extractor.kind == "inception":
        ours = "Inception-v3 pool, 2048-d (FID), through clean-fid"
        return _row(FEATURES, ours, paper, "the same network and layer in another implementation")
    if extractor.kind == "dinov2":
        return _row(FEATURES, "DINOv2 ViT-L/14 class token, 1024-d (FD-DINOv2)", paper, "another Frechet distance")
    ours = f"classifier of the study's own labels, {extractor.feature_dim}-d"
    return _row(FEATURES, ours, paper, "a Frechet distance, but not a FID: it sees what matters for the labels")


def _describe_adamw(beta1: float, beta2: float) -> str:
    return f"AdamW, betas {beta1:g} and {beta2:g}"
