"""How fast a device trains each variant: throughput and model-FLOPs utilisation, beside published figures.

What a GPU needs to be fast is on here: bf16 autocast or TF32, attention through SDPA, a network compiled for its one
shape, fused AdamW and EMA on flat weights, and input that is pinned and copied a step ahead.
"""

import json
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, get_args

import torch

from dit_scaling.common.devices import choose_device, describe_device, matrix_products
from dit_scaling.common.errors import UserError
from dit_scaling.common.provenance import git_commit
from dit_scaling.config.recipe import Precision, Recipe
from dit_scaling.config.study import Study
from dit_scaling.diffusion.process import PAPER_PROCESS, create_diffusion
from dit_scaling.models import create_model
from dit_scaling.models.compiling import compiler_errors, compiler_found
from dit_scaling.plan.bench_stages import measure_autoencoder, measure_sampling
from dit_scaling.plan.network_costs import SD_VAE, Autoencoder
from dit_scaling.plan.peaks import listed_name, peak_of
from dit_scaling.plan.space import micro_batch
from dit_scaling.training.batches import Batch
from dit_scaling.training.prefetch import ahead
from dit_scaling.training.step import TrainingStep
from dit_scaling.variants import TRAINING_PASSES, AnyVariant, count_gflops, parse_variant

PAPER_PATCH_2 = ("DiT-S/2", "DiT-B/2", "DiT-L/2", "DiT-XL/2")
PRECISIONS = get_args(Precision)
STAGES = ("train", "sample", "encode")
WARM_UP = 2
BATCHES_OF_HOST = 4  # that are drawn beforehand, and fed in turn
GEMM_SIDE = {"cpu": 2048, "cuda": 8192}


@dataclass(frozen=True)
class Published:
    """A training rate that somebody else has published."""

    source: str
    variant: str
    batch_size: int
    device: str
    precision: str
    steps_per_second: float


PUBLISHED = (Published("fast-DiT", "DiT-XL/2", 128, "NVIDIA A100", "bfloat16", 0.84),)


@dataclass(frozen=True)
class Setting:
    """What all variants are measured with."""

    device: torch.device
    recipe: Recipe
    input_size: int = 32
    in_channels: int = 4
    num_classes: int = 1000
    study: Study | None = None
    """Whose jobs it is of: these cut their batches as it says."""
    sampling_precision: str = ""
    """That of training where empty."""
    sample_batch: int = 64
    encode_batch: int = 8
    latents_precision: str = "tf32"
    autoencoder: Autoencoder = SD_VAE
    image_size: int = 256

    @property
    def compiles_sampling(self) -> bool:
        """Whether sampling is compiled: as the study says, or as training is."""
        wanted = self.recipe.compile if self.study is None else self.study.sampling.compile
        return wanted and compiler_found()

    @property
    def graphs(self) -> bool:
        """Whether compiled sampling launches CUDA graphs."""
        return self.study is not None and self.study.resources.cuda_graphs

    def parts(self, variant: AnyVariant) -> int:
        """Samples that a step computes at a time; 0 for all."""
        if self.study is None:
            return 0
        cuda = self.device.type == "cuda"
        memory = float(torch.cuda.get_device_properties(self.device).total_memory) if cuda else None
        return micro_batch(self.study, variant, 1, memory)


@dataclass(frozen=True)
class Asked:
    """What to measure, and how; empty or None is the device's usual way."""

    device: str = "auto"
    """auto, cpu or cuda."""
    batch_size: int | None = None
    """Latents of a step; 128."""
    precision: str = ""
    """One of ``PRECISIONS``."""
    compiled: bool | None = None
    """Whether to compile the network."""
    seconds: float = 10.0
    """To train each variant for, and to do each other thing."""
    stages: Sequence[str] = STAGES

    def check(self) -> None:
        """Raises UserError where an argument is none of those."""
        if self.precision not in ("", *PRECISIONS):
            raise UserError(f"--precision {self.precision}: choose one of {', '.join(PRECISIONS)}.")
        if (self.batch_size is not None and self.batch_size < 1) or self.seconds <= 0:
            raise UserError("--batch-size is at least 1, and --seconds more than 0.")
        if unknown := set(self.stages) - set(STAGES):
            raise UserError(f"--stage {unknown.pop()}: choose of {', '.join(STAGES)}.")


class Ran(NamedTuple):
    """How a stage ran when it was measured."""

    precision: str
    compiled: bool
    batch: int


@dataclass(frozen=True)
class Throughput:
    """What training one variant reaches."""

    variant: str
    steps_per_second: float
    images_per_second: float
    tflops: float
    """1e12 operations of forward and backward pass a second; a multiply-add is two."""
    memory: int
    """Peak in bytes: allocated on a GPU, resident on a CPU."""


def tell_bench(names: Sequence[str], asked: Asked, study: Study | None = None, as_json: bool = False) -> str:
    """Measure variants by name, the paper's of patch 2 where there is none, and describe what was found.

    Args:
        names: variants.
        asked: what to measure of them, and how.
        study: measure what its jobs will run: its variants, batches, precisions, latents and autoencoder.
        as_json: rows as `measured_rates.csv` has them, in the place of a table.

    Raises:
        UserError: an argument is none of those, or the device is not there.
    """
    asked.check()
    device = choose_device(asked.device if study is None or asked.device != "auto" else study.resources.device)
    if study is not None:
        variants = [study.variant(name) for name in names or study.variants]
        setting = setting_of(study, device)
    else:
        variants = [parse_variant(name) for name in names or PAPER_PATCH_2]
        cuda = device.type == "cuda"
        options = {
            "batch_size": asked.batch_size or 128,
            "precision": asked.precision or ("bfloat16" if cuda else "float32"),
            "compile": (cuda if asked.compiled is None else asked.compiled) and compiler_found(),
        }
        setting = Setting(device, Recipe.model_validate(options))
    seconds = asked.seconds
    trained = [measure_training(variant, setting, seconds) for variant in variants] if "train" in asked.stages else []
    others = list(_measure_others(variants, setting, asked.stages, seconds))
    recipe = setting.recipe
    ran = Ran(recipe.precision, recipe.compile, recipe.batch_size)
    rows = [measured_row(device, row.variant, "train", row.steps_per_second, ran) for row in trained] + others
    if as_json:
        return json.dumps(rows, indent=2)
    gemm = measure_gemm(device, setting.recipe.precision)
    lines = [describe_throughput(setting, gemm, trained)] if trained else [_heading(setting, gemm)]
    lines += [
        f"{row['stage']}, {row['variant']}, {row['precision']}, batch {row['batch']}: {row['rate']:.3g} images/s"
        + (" (250 steps, no guidance)" if row["stage"] == "sample" else "")
        for row in others
    ]
    return "\n".join(lines)


def setting_of(study: Study, device: torch.device) -> Setting:
    """What a study's jobs run on ``device``."""
    sampling = study.sampling.precision
    return Setting(
        device,
        study.training.recipe,
        study.latent_size,
        study.vae.latent_channels,
        study.data.classes,
        study=study,
        sampling_precision=sampling,
        sample_batch=study.resources.sample_batch,
        encode_batch=study.resources.encode_batch,
        latents_precision=study.latents.precision,
        autoencoder=Autoencoder.of_study(study),
        image_size=study.data.image_size,
    )


def _measure_others(
    variants: Sequence[AnyVariant], setting: Setting, stages: Sequence[str], seconds: float
) -> Iterator[dict[str, object]]:
    """Rows of what is not training."""
    precision = setting.sampling_precision or setting.recipe.precision
    shape, device = (setting.in_channels, setting.input_size, setting.input_size), setting.device
    for variant in variants if "sample" in stages else ():
        ran = Ran(precision, setting.compiles_sampling, setting.sample_batch)
        rate = measure_sampling(
            variant,
            shape,
            setting.num_classes,
            ran.batch,
            precision,
            device,
            seconds,
            compile=ran.compiled,
            graphs=setting.graphs,
        )
        yield measured_row(device, variant.name, "sample", rate, ran)
    if "encode" in stages:
        batch, encodes_in = setting.encode_batch, setting.latents_precision
        rates = measure_autoencoder(setting.autoencoder, setting.image_size, batch, device, seconds, encodes_in)
        name = "SD-VAE" if setting.autoencoder == SD_VAE else "the study's VAE"
        for stage, rate, kind in zip(("encode", "decode"), rates, (encodes_in, "tf32"), strict=True):
            # TF32 is a GPU's.
            ran = Ran("float32" if (kind, device.type) == ("tf32", "cpu") else kind, False, batch)
            yield measured_row(device, name, stage, rate, ran)


def measured_row(device: torch.device, variant: str, stage: str, rate: float, ran: Ran) -> dict[str, object]:
    """A row as `measured_rates.csv` has them; a device whose data sheet is known has its name in ``peaks.PEAKS``."""
    name = describe_device(device)
    return {
        "device": listed_name(name) or name,
        "torch": torch.__version__,
        "variant": variant,
        **ran._asdict(),
        "stage": stage,
        "rate": rate,
        "commit": git_commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "source": "dit-scaling bench",
    }


def measure_training(variant: AnyVariant, setting: Setting, seconds: float) -> Throughput:
    """Train a variant on random latents for some seconds.

    Raises:
        UserError: its activations do not fit the GPU's memory, or code that torch.compile kept cannot be loaded.
    """
    device, cuda = setting.device, setting.device.type == "cuda"
    torch.manual_seed(0)
    model = create_model(variant, setting.input_size, setting.num_classes, setting.in_channels).to(device).train()
    batches, parts = ahead(_drawn(setting), device), setting.parts(variant)
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    try:
        with matrix_products(setting.recipe.precision), compiler_errors():
            take = TrainingStep(model, setting.recipe, create_diffusion(PAPER_PROCESS))
            for step in range(WARM_UP):
                take(step, next(batches).split(parts))
            _wait(device)
            started, steps, elapsed = time.perf_counter(), 0, 0.0
            while elapsed < seconds:
                take(WARM_UP + steps, next(batches).split(parts))
                steps += 1
                if not cuda or steps % 10 == 0:  # a GPU is not kept waiting for the clock
                    _wait(device)
                    elapsed = time.perf_counter() - started
    except torch.cuda.OutOfMemoryError:
        raise UserError(
            f"{variant.name}: a batch of {setting.recipe.batch_size} does not fit this GPU's memory. "
            "Choose a smaller one with --batch-size."
        ) from None
    rate = steps / elapsed
    multiply_adds = 1e9 * count_gflops(variant, setting.input_size, setting.in_channels) * setting.recipe.batch_size
    return Throughput(
        variant=variant.name,
        steps_per_second=rate,
        images_per_second=rate * setting.recipe.batch_size,
        tflops=2 * TRAINING_PASSES * multiply_adds * rate / 1e12,
        memory=torch.cuda.max_memory_allocated(device) if cuda else peak_resident(),
    )


def measure_gemm(device: torch.device, precision: str, seconds: float = 1.0) -> float:
    """Rate of one large matrix product, the most that training can hope for: 1e12 operations a second."""
    side = GEMM_SIDE[device.type]
    kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
    # Of ones they run a sixth faster than of numbers, which toggle more bits.
    a, b, out = (torch.randn(side, side, device=device, dtype=kind) for _ in range(3))
    with matrix_products(precision):
        for _ in range(WARM_UP):
            torch.mm(a, b, out=out)
        _wait(device)
        started, products = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - started) < seconds:
            torch.mm(a, b, out=out)
            products += 1
            _wait(device)
    return 2 * side**3 * products / elapsed / 1e12


def describe_throughput(setting: Setting, gemm: float, found: list[Throughput]) -> str:
    """The table, with the published figures of the same variants at its end."""
    recipe = setting.recipe
    peak = peak_of(describe_device(setting.device), recipe.precision)
    lines = [
        _heading(setting, gemm),
        f"{'variant':<12}{'steps/s':>10}{'images/s':>10}{'TFLOP/s':>10}{'of peak':>10}{'of GEMM':>10}{'GiB':>8}",
    ]
    for row in found:
        lines.append(
            f"{row.variant:<12}{row.steps_per_second:>10.3g}{row.images_per_second:>10.4g}{row.tflops:>10.3g}"
            f"{_share(row.tflops, peak):>10}{_share(row.tflops, gemm):>10}{row.memory / 2**30:>8.1f}"
        )
    for known in PUBLISHED:
        tflops = published_tflops(known)
        share = _share(tflops, peak_of(known.device, known.precision))
        lines.append(
            f"Published by {known.source}: {known.variant}, batch {known.batch_size}, one {known.device}: "
            f"{known.steps_per_second:g} steps/s, {known.steps_per_second * known.batch_size:.4g} images/s, "
            f"{tflops:.3g} TFLOP/s, {share} of peak."
        )
    return "\n".join(lines)


def _heading(setting: Setting, gemm: float) -> str:
    """Card, torch, and what both could reach at most."""
    name, recipe = describe_device(setting.device), setting.recipe
    peak = peak_of(name, recipe.precision)
    return (
        f"{name}, torch {torch.__version__}, {recipe.precision}, batch {recipe.batch_size}, "
        f"{'compiled' if recipe.compile else 'eager'}; data sheet {f'{peak:g} TFLOP/s' if peak else 'unknown'}, one "
        f"large product of random numbers {gemm:.3g} TFLOP/s"
    )


def published_tflops(known: Published) -> float:
    """1e12 operations a second behind a published rate, on latents of ImageNet at 256 x 256."""
    multiply_adds = 1e9 * count_gflops(parse_variant(known.variant)) * known.batch_size
    return 2 * TRAINING_PASSES * multiply_adds * known.steps_per_second / 1e12


def peak_resident() -> int:
    """Peak resident memory of this process in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _drawn(setting: Setting) -> Iterator[Batch]:
    """Random batches on the host, a few of them in turn, so that drawing costs nothing."""
    rng = torch.Generator().manual_seed(0)
    shape = (setting.recipe.batch_size, setting.in_channels, setting.input_size, setting.input_size)

    def draw() -> Batch:
        return Batch(
            x0=torch.randn(shape, generator=rng),
            t=torch.randint(1, PAPER_PROCESS.num_timesteps, shape[:1], generator=rng),
            y=torch.randint(setting.num_classes, shape[:1], generator=rng),
            noise=torch.randn(shape, generator=rng),
        )

    kept = [draw() for _ in range(BATCHES_OF_HOST)]
    while True:
        yield from kept


def _share(rate: float, whole: float | None) -> str:
    return "-" if whole is None else f"{rate / whole:.1%}"


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
