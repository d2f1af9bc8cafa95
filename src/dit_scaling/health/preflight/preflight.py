"""The preflight stage: every check once, their record and pictures, and a stop where one fails."""

import functools
import logging
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from dit_scaling.common.errors import LackingMemoryError, UserError
from dit_scaling.common.files import atomic_folder, write_json
from dit_scaling.common.lacking_memory import fixed_memory_named
from dit_scaling.config.stages import PreflightSettings
from dit_scaling.data.sources import open_source
from dit_scaling.diffusion.process import create_diffusion
from dit_scaling.health.check import Check, describe_failures
from dit_scaling.health.contract import check_contract
from dit_scaling.health.preflight.batch_checks import check_draws, read_draws
from dit_scaling.health.preflight.compiled_checks import check_compiled
from dit_scaling.health.preflight.coordinates import check_coordinates
from dit_scaling.health.preflight.ema_checks import check_formula, check_real_steps
from dit_scaling.health.preflight.formula_networks import probe_settings
from dit_scaling.health.preflight.latent_checks import (
    check_colours,
    check_files,
    check_histogram,
    check_pairs,
    decode_means,
    read_pairs,
)
from dit_scaling.health.preflight.loss_checks import check_loss
from dit_scaling.health.preflight.overfit_batch import check_overfitted, check_precision, overfit_batch
from dit_scaling.health.preflight.sampler_checks import check_sampler
from dit_scaling.health.preflight.vae_checks import check_vae
from dit_scaling.latents.autoencoder import open_vae
from dit_scaling.latents.reader import LatentReader
from dit_scaling.models.compiling import compiler_found
from dit_scaling.sampling.images import write_grid
from dit_scaling.training.runtime import Runtime

PICTURED = 8
LONG = ("mixed precision", "overfitted batch")  # groups that train or compute gradients come last

Group = Callable[[], list[Check]]

log = logging.getLogger(__name__)


def run_preflight(
    settings: PreflightSettings, vae_json: Path, manifest: Path, output: Path, device: torch.device
) -> None:
    """Check the way from images to samples; write the record, ``pairs.png`` and ``overfit_batch.png`` beside it.

    Args:
        settings: of this stage.
        vae_json: record of the autoencoder.
        manifest: manifest of the latents.
        output: the record, ``preflight.json``. Where checks fail, record and pictures are in the folder ``failed``
            beside it, which Snakemake leaves alone.
        device: where to compute.

    Raises:
        UserError: checks failed; each is named with its value, what was expected, and what it usually means. Or the
            memory is not enough.
    """
    started = time.monotonic()
    groups = list_groups(settings, vae_json, manifest, output.parent, device)
    checks = [check for name, group in groups.items() for check in run_group(name, group)]
    passed = all(check.passed for check in checks)
    failed = output.parent / "failed"
    shutil.rmtree(failed, ignore_errors=True)
    record = {
        "passed": passed,
        "checks": [asdict(check) for check in checks],
        "seconds": round(time.monotonic() - started, 1),
        "settings_digest": settings.digest,
    }
    if not passed:
        with atomic_folder(failed) as folder:
            for picture in output.parent.glob("*.png"):
                shutil.copy(picture, folder)
            write_json(folder / output.name, record)
        raise UserError(f"preflight: {describe_failures(checks)}\nAll checks are in {failed}/. Nothing was trained.")
    write_json(output, record)


def list_groups(
    settings: PreflightSettings, vae_json: Path, manifest: Path, pictures: Path, device: torch.device
) -> dict[str, Group]:
    """All checks in groups, causes before consequences; none has run yet."""
    data, training = settings.latents.vae.data, probe_settings(settings)
    runtime = Runtime(device=device)
    source, reader = open_source(data.data), LatentReader(manifest, "train")
    vae = open_vae(vae_json).to(device)
    pairs = read_pairs(reader, source)

    def pictured_pairs() -> list[Check]:
        image, mirror = (decode_means(vae, means, pairs.images.shape[-1]) for means in pairs.means.unbind(1))
        rows = [images[:PICTURED] for images in (pairs.images, image, mirror)]
        write_grid(pictures / "pairs.png", np.concatenate(rows), columns=len(rows[0]))
        return check_pairs(vae, pairs)

    def real_steps() -> list[Check]:
        with tempfile.TemporaryDirectory() as folder:
            return check_real_steps(training, manifest, Path(folder), runtime)

    def of_objective(some: PreflightSettings, picture: str) -> dict[str, Group]:
        """What depends on what networks are trained for."""
        probe, diffusion = probe_settings(some), create_diffusion(some.diffusion)
        draws = read_draws(reader, probe)

        def overfitted_batch() -> list[Check]:
            with tempfile.TemporaryDirectory() as folder:
                batch = overfit_batch(diffusion, reader, probe, some.sampling, Path(folder), runtime)
            scaled = torch.cat([batch.latents, batch.samples]) / reader.manifest.scale
            images = decode_means(vae, scaled, pairs.images.shape[-1])
            write_grid(pictures / picture, images, columns=len(batch.labels))
            return [check_overfitted(batch)]

        shape = (some.in_channels, some.input_size, some.input_size)
        own = {
            f"contract of {variant.name}": functools.partial(
                check_contract, variant, some.diffusion, shape, some.num_classes
            )
            for variant in some.own
        }
        return {
            "batches": lambda: check_draws(draws, probe, vae.config.scaling_factor),
            "loss": lambda: check_loss(diffusion, draws, probe),
            "sampler": lambda: check_sampler(diffusion, some.sampling),
            **own,
            "mixed precision": lambda: check_precision(diffusion, draws, probe, device),
            "overfitted batch": overfitted_batch,
        }

    first = of_objective(settings, "overfit_batch.png")
    if settings.recipe.parametrisation == "mup":
        first["coordinates"] = lambda: check_coordinates(settings)
    groups: dict[str, Group] = {
        "images": lambda: [*check_files(source, data.data), *check_colours(source, data.data)],
        "VAE": lambda: check_vae(vae, pairs.images),
        "stored latents": pictured_pairs,
        "label histogram": lambda: [check_histogram(reader, source, data)],
        **{name: group for name, group in first.items() if name not in LONG},
        "EMA": lambda: check_formula(settings.recipe.ema_decay, settings.recipe.ema_ramp),
        "real steps": real_steps,
        **{name: group for name, group in first.items() if name in LONG},
        **{
            f"{name}, {some.diffusion.objective}": functools.partial(_named, some.diffusion.objective, group)
            for some in settings.further
            for name, group in of_objective(some, f"overfit_batch_{some.diffusion.objective}.png").items()
        },
    }
    if settings.recipe.compile and compiler_found():
        diffusion = create_diffusion(settings.diffusion)
        groups["compiled training"] = lambda: check_compiled(
            diffusion, reader, training, settings.recipe.precision, device
        )
    return groups


def _named(objective: str, group: Group) -> list[Check]:
    """The checks of a group, which another objective has too, under names of their own."""
    return [replace(check, name=f"{check.name}, {objective}") for check in group()]


def run_group(name: str, group: Group) -> list[Check]:
    """The checks of a group; one that cannot be carried out has failed too, and does not hide the others.

    Raises:
        LackingMemoryError: the memory is not enough, of which the checks say nothing.
    """
    started = time.monotonic()
    try:
        with fixed_memory_named(f"preflight, {name}"):
            checks = group()
    except LackingMemoryError:
        raise
    except Exception as error:
        log.exception("preflight: %s", name)
        reason = f"{type(error).__name__}: {error}"
        checks = [Check(name, reason, "to run", False, "see the failed checks above it first, then this error")]
    failed = sum(not check.passed for check in checks)
    log.info("%s: %d of %d passed, %.1f s", name, len(checks) - failed, len(checks), time.monotonic() - started)
    return checks
