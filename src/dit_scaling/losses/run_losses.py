"""The stage: losses of all exports of one run, in one job: starting one takes longer than measuring small networks."""

import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import atomic_path, write_json
from dit_scaling.config.stages import LossSettings
from dit_scaling.diffusion.process import create_diffusion
from dit_scaling.latents.reader import LatentReader
from dit_scaling.losses.columns import beside_columns, held_out_columns
from dit_scaling.losses.draws import draw_batches
from dit_scaling.losses.image_losses import Array, ImageLosses, image_losses
from dit_scaling.losses.loss_names import RAW_PREFIX, TRAINING
from dit_scaling.models.checkpoints import load_checkpoint

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LossFiles:
    """What the stage reads and writes."""

    manifest: Path
    record: Path
    """JSON: the columns of `columns` by step."""
    images: Path
    """npz: ``steps`` (S,) and ``mse`` (S, images) float32, the headline image by image, for paired differences."""


def measure_run(
    settings: LossSettings,
    ema: Mapping[int, Path],
    raw: Mapping[int, Path],
    files: LossFiles,
    device: torch.device,
) -> None:
    """Measure the exports of one run; ``ema`` and ``raw`` are their weights by step, where they are kept.

    Raises:
        UserError: weights or latents are missing or damaged, or a loss is not finite.
    """
    by_step: dict[str, dict[str, float]] = {}
    of_images: dict[int, Array] = {}
    held_out, training = (LatentReader(files.manifest, split) for split in ("held_out", "train"))
    for step in sorted({*ema, *raw}):
        columns: dict[str, float] = {}
        if step in ema:
            losses, fitted = losses_of(settings, ema[step], (held_out, training), device)
            columns |= held_out_columns(losses) | beside_columns(TRAINING, fitted)
            of_images[step] = losses.mse
        if step in raw:
            (losses,) = losses_of(settings, raw[step], (held_out,), device)
            columns |= {f"{RAW_PREFIX}{name}": value for name, value in held_out_columns(losses).items()}
        if faults := [name for name, value in columns.items() if not math.isfinite(value)]:
            raise UserError(
                f"{ema.get(step, raw.get(step))}: {faults[0]} is NaN or infinite, so the weights have exploded. Lower "
                "training.learning_rate, or end training at an earlier step."
            )
        log.info("step %d: %s", step, ", ".join(f"{name} {value:.4g}" for name, value in columns.items()))
        by_step[str(step)] = columns
    with atomic_path(files.images) as temporary, temporary.open("wb") as stream:
        np.savez(stream, steps=np.array(list(of_images)), mse=np.array(list(of_images.values()), dtype=np.float32))
    about = {"images": min(settings.images, len(held_out)), "draws": settings.draws, "settings_digest": settings.digest}
    write_json(files.record, {"steps": by_step} | about)


def losses_of(
    settings: LossSettings, weights: Path, readers: Iterable[LatentReader], device: torch.device
) -> list[ImageLosses]:
    """The losses of a checkpoint on the first images of each split."""
    model, header = load_checkpoint(weights)
    diffusion, model = create_diffusion(header.diffusion), model.to(device)
    return [
        image_losses(
            diffusion,
            model,
            draw_batches(reader, min(settings.images, len(reader)), settings.draws, diffusion, settings.seed),
            device,
        )
        for reader in readers
    ]
