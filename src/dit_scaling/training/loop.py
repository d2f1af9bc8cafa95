"""The training loop, read from top to bottom."""

import logging
import signal
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor

from dit_scaling.common.devices import matrix_products
from dit_scaling.common.errors import UserError
from dit_scaling.common.files import digest
from dit_scaling.common.lacking_memory import memory_named
from dit_scaling.common.progress import track
from dit_scaling.config.stages import TrainSettings
from dit_scaling.diffusion.process import create_diffusion
from dit_scaling.latents.reader import LatentReader
from dit_scaling.latents.shard_check import shards_compared
from dit_scaling.models.checkpoints import CheckpointHeader, save_model
from dit_scaling.models.compiling import compiler_errors
from dit_scaling.training.batches import BatchSource
from dit_scaling.training.initial import initial_model
from dit_scaling.training.lock import locked
from dit_scaling.training.prefetch import ahead
from dit_scaling.training.ranks import ALONE, Ranks
from dit_scaling.training.records import WINDOW, append_record, check_finite, write_records
from dit_scaling.training.runtime import Interrupted, Runtime, stop_noticed
from dit_scaling.training.saving import Saver, saving
from dit_scaling.training.state import StateFolder, TrainingState
from dit_scaling.training.step import TrainingStep
from dit_scaling.training.watching import watching
from dit_scaling.variants.training_memory import TrainingMemory

log = logging.getLogger(__name__)


def train_to(
    settings: TrainSettings, manifest: Path, last_step: int, states: Path, runtime: Runtime, ranks: Ranks = ALONE
) -> StateFolder:
    """Train one variant up to ``last_step`` and export raw and EMA weights there.

    Step by step as in `TrainingStep`. Resumes from the newest valid state of the same settings and the same latents,
    and returns at once where all of that step is already exported. Holds the lock of the run's folder meanwhile.

    Args:
        settings: all that changes the weights.
        manifest: manifest.json of the latents.
        last_step: optimiser step to reach, at least 1.
        states: folder that keeps the states of all runs of the study.
        runtime: device, intervals, memory.
        ranks: the processes that share the work, each of which makes this call.

    Returns:
        The folder that now holds ``ema.safetensors``, ``raw.safetensors`` and ``metrics.jsonl`` in ``step-N``.

    Raises:
        UserError: the latents do not fit the settings or are not the manifest's, another process trains there, code
            that torch.compile kept cannot be loaded, the memory is not enough, or the loss stops being finite.
        Interrupted: a signal asked any rank to stop; the state is on disk.
    """
    reader = LatentReader(manifest, "train")
    _check_fit(settings, reader, manifest)
    folder = state_folder(settings, reader, states)
    if folder.has_exports(last_step):
        log.info("%s step %d is already trained in %s", settings.variant.name, last_step, folder.path)
    else:
        lock = locked(folder.path) if ranks.first else nullcontext()
        at_once = chosen_micro_batch(settings, runtime, ranks)
        run = f"{settings.variant.name}, seed {settings.seed}"
        memory = memory_named(run, "resources.micro_batch", at_once, "samples")
        with lock, matrix_products(settings.recipe.precision), compiler_errors(), memory:
            _train(settings, reader, folder, last_step, runtime, ranks, at_once)
    return folder


def _train(
    settings: TrainSettings,
    reader: LatentReader,
    folder: StateFolder,
    last_step: int,
    runtime: Runtime,
    ranks: Ranks,
    micro_batch: int,
) -> None:
    run, device = f"{settings.variant.name}, seed {settings.seed}", runtime.device
    model, diffusion = initial_model(settings).to(device).train(), create_diffusion(settings.diffusion)
    train_step = TrainingStep(model, settings.recipe, diffusion, ranks)
    window = torch.zeros(4, device=device)  # sums of loss, mse, vb and gradient norm since the last record
    seconds = torch.zeros((), dtype=torch.float64)
    carried = train_step.tensors | {"window": window, "seconds": seconds}

    first_step = _resume(folder, last_step, carried, ranks)
    train_step.start_at(first_step)
    log.info(
        "%s: starts at step %d of %d on %d x %s, %d samples at a time",
        *(run, first_step, last_step, ranks.count, device, micro_batch),
    )
    share = ranks.share(settings.recipe.batch_size)
    source = BatchSource(reader, settings, torch.device("cpu"), share)
    steps = range(first_step, last_step)
    saved_at = logged_at = time.monotonic()
    compared = shards_compared(reader) if ranks.first else nullcontext()
    told = runtime if ranks.first else runtime.model_copy(update={"loggers": ()})
    with (
        stop_noticed() as interrupted,
        watching(settings, told, train_step, folder.path.parent, first_step) as watch,
        compared as check,
        saving(folder, check) as saver,
        source.read_ahead(steps) as ready,
    ):
        batches = ahead(map(source.batch, ready), device)
        for step in track(steps, len(steps), run, runtime.log_seconds):
            window += train_step(step, next(batches).split(micro_batch))

            done, now = step + 1, time.monotonic()
            if done % WINDOW == 0:
                seconds += now - logged_at
                logged_at = now
                ranks.average_(window)
                check_finite(window, run, done, folder.path)
                if check:
                    check.refuse_if_bad()
                if ranks.first:
                    means = append_record(folder.metrics, done, window / WINDOW, seconds.item())
                    watch.tell(done, means, seconds.item())
                window.zero_()
            due = done % runtime.save_steps == 0 or now - saved_at > 60 * runtime.save_minutes
            due = due and done < last_step  # which is saved in any case
            stop, save = ranks.any(bool(interrupted), due)
            if stop or save:
                _save(saver, folder, done, carried, run, ranks)
                saved_at = now
            saver.check()
            if stop:
                saver.wait()
                ranks.wait()
                log.warning("%s: %s, state saved at step %d in %s", run, _names(interrupted), done, folder.path)
                raise Interrupted(143)

        _save(saver, folder, last_step, carried, run, ranks)
    ranks.wait()
    if ranks.first:
        write_records(folder.export_path(last_step, "metrics.jsonl"), folder.metrics.read_text())
        raw = model.state_dict()
        for name, exported in {"raw": raw, "ema": raw | train_step.named(train_step.ema)}.items():
            save_model(
                folder.export_path(last_step, f"{name}.safetensors"),
                exported,
                CheckpointHeader(
                    variant=settings.variant,
                    input_size=settings.input_size,
                    num_classes=settings.num_classes,
                    in_channels=settings.in_channels,
                    settings_digest=settings.digest,
                    step=last_step,
                    provenance={
                        "weights": name,
                        "seed": settings.seed,
                        "latents": reader.manifest.content,
                        "seconds": seconds.item(),
                        "micro_batch": micro_batch,
                    },
                    diffusion=settings.diffusion,
                ),
            )
        folder.seal_exports(last_step)


def _names(signals: list[int]) -> str:
    return signal.Signals(signals[0]).name if signals else "another rank was asked to stop"


def chosen_micro_batch(settings: TrainSettings, runtime: Runtime, ranks: Ranks) -> int:
    """Samples that each rank computes at a time: as configured, or as many as fit the first rank's GPU."""
    size, share = settings.recipe.batch_size, ranks.share(settings.recipe.batch_size)
    kept = TrainingMemory(
        settings.variant,
        settings.input_size,
        settings.in_channels,
        settings.num_classes,
        settings.recipe.precision,
        len(range(size)[share]),
        ranks.count,
    )
    memory = None
    if runtime.device.type == "cuda":
        memory = torch.cuda.get_device_properties(runtime.device).total_memory / runtime.jobs_per_gpu
    chosen = torch.tensor(kept.micro_batch(runtime.micro_batch, memory))
    ranks.copy_from_first_(chosen)
    return int(chosen)


def state_folder(settings: TrainSettings, reader: LatentReader, states: Path) -> StateFolder:
    """Where a run of these settings on these latents keeps its states and exports."""
    facts = {"settings": settings.stored(), "latents": reader.manifest.content}
    return StateFolder(states, digest(list(facts.values())), facts)


def _resume(folder: StateFolder, last_step: int, carried: Mapping[str, Tensor], ranks: Ranks) -> int:
    """Fill ``carried`` from the newest valid state, which the first rank reads for all; the step it is of, or 0.

    The folder's log becomes that of the state: what was logged beyond it is written again.
    """
    first_step = torch.zeros((), dtype=torch.int64)
    if ranks.first:
        folder.start()
        state = folder.load(last_step)
        if state is not None:
            first_step.fill_(state.step)
            for name, tensor in carried.items():
                tensor.copy_(state.tensors[name])
        write_records(folder.metrics, "" if state is None else state.log)
    for tensor in (first_step, *carried.values()):
        ranks.copy_from_first_(tensor)
    return int(first_step)


def _save(saver: Saver, folder: StateFolder, step: int, carried: dict[str, Tensor], run: str, ranks: Ranks) -> None:
    """Have the state of ``step`` written, by the first rank, while training goes on."""
    check_finite(carried["weights"], run, step, folder.path)
    ranks.average_(carried["window"])
    if ranks.first:
        saver.start(TrainingState(step, carried, folder.metrics.read_text()))


def _check_fit(settings: TrainSettings, reader: LatentReader, manifest: Path) -> None:
    _, channels, height, width = reader.shape
    if (channels // 2, height, width) != (settings.in_channels, settings.input_size, settings.input_size):
        raise UserError(
            f"{manifest}: latents have {channels // 2} channels on a {height}x{width} grid, but the study says "
            f"{settings.in_channels} channels on {settings.input_size}x{settings.input_size}. "
            "Check vae.latent_channels and vae.downsampling, or rerun the latents."
        )
    if int(reader.labels.max()) >= settings.num_classes:
        raise UserError(
            f"{manifest}: label {int(reader.labels.max())} does not fit data.classes {settings.num_classes}."
        )
