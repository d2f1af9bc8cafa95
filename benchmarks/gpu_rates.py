"""Rates of the stages on a GPU, a line of JSON as each is measured: python -m benchmarks.gpu_rates

A line "rate" is a row of src/dit_scaling/plan/measured_rates.csv; one "beside" has no place in that table. The most
wanted come first, as a run may be cut off. `python -m benchmarks.gpu_figures` makes tables of them.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from benchmarks.extraction import WIDTHS, prepare
from benchmarks.kernels import carry_out, seconds_of, tell
from benchmarks.models import build, embedded_study, embedded_variants
from benchmarks.row import Setting as Folder
from benchmarks.training import diffusers_step
from dit_scaling.common.devices import describe_device
from dit_scaling.config.recipe import Precision, Recipe
from dit_scaling.config.vae_settings import Latents
from dit_scaling.latents.encode import Encoding, encode_shard
from dit_scaling.latents.manifest import ShardJob
from dit_scaling.models.compiling import compiler_found
from dit_scaling.plan.bench import Ran, Setting, measure_gemm, measure_training, measured_row
from dit_scaling.plan.bench_stages import measure_autoencoder, measure_sampling
from dit_scaling.plan.network_costs import SD_VAE, Autoencoder
from dit_scaling.variants import AnyVariant, parse_variant

GUIDANCE = 4.0
ENCODERS = ("tf32", "float16")
EAGER: tuple[Precision, ...] = ("bfloat16", "tf32")
SHARDS = 9  # one is encoded to see what opening the autoencoder costs, and then all images as one


class Measurement:
    """What is measured, and with what: a GPU's sizes, or small ones that show only that everything runs.

    Where there is no compiler, what is to be compiled is not, and its rows say so.
    """

    def __init__(self, device: torch.device, small: bool, seconds: float) -> None:
        self.device, self.small, self.seconds = device, small, seconds
        names = ("DiT-S/8", "DiT-S/8") if small else ("DiT-XL/2", "DiT-S/2")
        few = {"depth": 1} if small else {}
        self.largest, self.smaller = (parse_variant(name).model_copy(update=few) for name in names)
        self.autoencoder = Autoencoder(3, (32, 32), 4, 1, True) if small else SD_VAE
        self.image_size = 32 if small else 256

    def size(self, full: int) -> int:
        """Of a batch."""
        return 2 if self.small else full

    def training(self, variant: AnyVariant, batch: int, precision: Precision, fast: bool) -> None:
        """Steps a second."""
        recipe = Recipe(batch_size=self.size(batch), precision=precision, compile=fast and compiler_found())
        found = measure_training(variant, Setting(self.device, recipe), self.seconds)
        ran = Ran(precision, recipe.compile, recipe.batch_size)
        tell("rate", **measured_row(self.device, variant.name, "train", found.steps_per_second, ran))

    def sampling(self, precision: str, how: str, guidance: float = 1.0, batch: int = 64) -> None:
        """Images a second of the largest variant."""
        ran = Ran(precision, how != "eager" and compiler_found(), self.size(batch))
        rate = self._sampled(self.largest, (4, 32, 32), 1000, ran, how, guidance)
        row = measured_row(self.device, self.largest.name, "sample", rate, ran)
        if how == "CUDA graphs" or guidance != 1.0:
            tell("beside", **row, how=how, guidance=guidance)
        else:
            tell("rate", **row)

    def embedded_sampling(self, how: str) -> None:
        """Images a second of the embedded study's largest variant, at its batch."""
        study = embedded_study()
        variant, channels, size = embedded_variants(study)[1], study.vae.latent_channels, study.latent_size
        ran = Ran("bfloat16", how != "eager" and compiler_found(), study.resources.sample_batch)
        rate = self._sampled(variant, (channels, size, size), study.data.classes, ran, how)
        row = measured_row(self.device, variant.name, "sample", rate, ran)
        tell("beside", **row, how=how, guidance=1.0)

    def _sampled(
        self,
        variant: AnyVariant,
        shape: tuple[int, int, int],
        classes: int,
        ran: Ran,
        how: str,
        guidance: float = 1.0,
    ) -> float:
        return measure_sampling(
            variant,
            shape,
            classes,
            ran.batch,
            ran.precision,
            self.device,
            self.seconds,
            compile=ran.compiled,
            graphs=how == "CUDA graphs",
            guidance=guidance,
        )

    def autoencoding(self, precision: str) -> None:
        """Images a second that SD's autoencoder encodes and decodes."""
        batch = self.size(64)
        encoded, decoded = measure_autoencoder(
            self.autoencoder, self.image_size, batch, self.device, self.seconds, precision
        )
        tell("rate", **measured_row(self.device, "SD-VAE", "encode", encoded, Ran(precision, False, batch)))
        if precision == "tf32":  # that of decoding, always
            tell("rate", **measured_row(self.device, "SD-VAE", "decode", decoded, Ran(precision, False, batch)))

    def shards(self, precision: str) -> None:
        """Images a second from JPEGs to a shard with their mirrors, read and cropped by all cores meanwhile."""
        count, readers = (SHARDS if self.small else 256 * SHARDS), len(os.sched_getaffinity(0))
        channels = (32, 32) if self.small else WIDTHS["full-width"]
        with tempfile.TemporaryDirectory(prefix="dit-scaling-shards-") as folder:
            settings, record = prepare(Folder(self.small, Path(folder)), channels, count, self.image_size)
            shard, facts, taken = Path(folder, "shard.tar"), Path(folder, "shard.json"), list[float]()
            for shards in (SHARDS, 1):
                latents = Latents.model_validate({"shards": shards, "precision": precision})
                started = time.perf_counter()
                encode_shard(
                    ShardJob(settings.model_copy(update={"latents": latents}), "train", 0, record, shard, facts),
                    Encoding(self.device, self.size(64), readers, log_seconds=3600.0),
                )
                taken.append(time.perf_counter() - started)
        rate = (count - count / SHARDS) / (taken[1] - taken[0])
        ran = Ran(precision, False, self.size(64))
        tell("beside", **measured_row(self.device, "SD-VAE", "shards", rate, ran), readers=readers)

    def peer(self) -> None:
        """Steps a second of diffusers' DiT at its best settings."""
        batch = self.size(128)
        side = diffusers_step(build(self.largest, 32, 1000, 4), batch, self.device, "bfloat16")
        rate = 1 / seconds_of(side.seconds, self.device, 20)
        ran = Ran("bfloat16", compiler_found(), batch)
        tell("beside", **measured_row(self.device, f"diffusers' {self.largest.name}", "train", rate, ran))

    def products(self) -> None:
        """1e12 operations a second of one large product of random numbers."""
        for precision in ("bfloat16", "tf32"):
            tell("product", precision=precision, tflops=measure_gemm(self.device, precision))


def parts(of: Measurement) -> Iterator[tuple[str, Callable[[], None]]]:
    """What is measured, the most wanted first."""
    xl, s = of.largest, of.smaller
    yield "products", of.products
    yield "training XL/2", partial(of.training, xl, 128, "bfloat16", True)
    yield "sampling", partial(of.sampling, "bfloat16", "compiled")
    yield "sampling, CUDA graphs", partial(of.sampling, "bfloat16", "CUDA graphs")
    yield "training S/2", partial(of.training, s, 256, "bfloat16", True)
    for precision in ENCODERS:
        yield f"autoencoder, {precision}", partial(of.autoencoding, precision)
        yield f"shards, {precision}", partial(of.shards, precision)
    yield "sampling guided", partial(of.sampling, "bfloat16", "compiled", GUIDANCE)
    for how in ("eager", "compiled", "CUDA graphs"):
        yield f"sampling embedded, {how}", partial(of.embedded_sampling, how)
    yield "diffusers", of.peer
    for kind in EAGER:
        yield f"sampling, {kind}", partial(of.sampling, kind, "eager")
        yield f"training XL/2, {kind}", partial(of.training, xl, 128, kind, False)
        yield f"training S/2, {kind}", partial(of.training, s, 256, kind, False)


def main() -> None:
    """Measure all of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_rates", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=4.0, help="to do each thing for")
    parser.add_argument("--small", action="store_true", help="sizes that show only that everything runs")
    given = parser.parse_args()
    device = torch.device(given.device)
    tell("device", name=describe_device(device), torch=torch.__version__)
    if not compiler_found():
        tell("failed", part="compiling", error="no C++ compiler here: rows that should be compiled are eager")
    for name, measure in parts(Measurement(device, given.small, given.seconds)):
        carry_out(name, measure, device)


if __name__ == "__main__":
    main()
