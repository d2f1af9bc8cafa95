"""The training loop, read from top to bottom."""

import json
import logging
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from dit_scaling.checkpoints import save_model
from dit_scaling.config.stages import TrainSettings
from dit_scaling.diffusion import GaussianDiffusion
from dit_scaling.errors import UserError
from dit_scaling.files import atomic_path, digest
from dit_scaling.latents.reader import LatentReader
from dit_scaling.models import DiT, create_model
from dit_scaling.progress import track
from dit_scaling.training.draws import BatchSource, seed_for
from dit_scaling.training.ema import ema_decay_at, update_ema
from dit_scaling.training.flat import FlatParameters
from dit_scaling.training.state import StateFolder, TrainingState

WINDOW = 50  # steps that one line of metrics.jsonl averages over

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Runtime:
    """How a job runs; nothing here changes what it computes."""

    device: torch.device
    save_minutes: float = 10.0
    log_seconds: float = 10.0


class Interrupted(SystemExit):
    """SIGTERM arrived and the state is saved; the next start goes on from it."""


def train_to(settings: TrainSettings, manifest: Path, last_step: int, states: Path, runtime: Runtime) -> StateFolder:
    """Train one variant up to ``last_step`` and export raw and EMA weights there.

    AdamW at a constant learning rate after an optional linear warm-up, EMA after every step, hybrid loss of
    `GaussianDiffusion.training_losses` (section 4 of the paper). Goes on from the newest valid state of the
    same settings and the same latents, and returns at once where that step is already exported.

    Args:
        settings: all that changes the weights.
        manifest: manifest.json of the latents.
        last_step: optimiser step to reach, at least 1.
        states: folder that keeps the states of all runs of the study.
        runtime: device and intervals.

    Returns:
        The folder that now holds ``step-N/ema.safetensors``, ``step-N/raw.safetensors`` and the log.

    Raises:
        UserError: the latents do not fit the settings, or the loss stops being finite.
        Interrupted: SIGTERM; the state is on disk.
    """
    reader = LatentReader(manifest, "train")
    _check_fit(settings, reader, manifest)
    folder = StateFolder(states, digest([settings.model_dump(mode="json"), reader.manifest.content]))
    folder.start({"settings": settings.model_dump(mode="json"), "latents": reader.manifest.content})
    if folder.export_path(last_step, "ema.safetensors").exists():
        log.info("%s step %d is already trained in %s", settings.variant, last_step, folder.path)
        return folder

    torch.manual_seed(seed_for("init", settings.seed))
    model = create_model(settings.build_variant(), settings.input_size, settings.num_classes, settings.in_channels)
    model.to(runtime.device).train()
    flat = FlatParameters(model)
    network = _compiled(model) if settings.compile else model
    ema = flat.weights.detach().clone()
    optimiser = torch.optim.AdamW(
        [flat.weights], settings.learning_rate, settings.betas, weight_decay=settings.weight_decay, fused=True
    )
    diffusion = GaussianDiffusion()
    source = BatchSource(reader, settings, diffusion.num_timesteps, runtime.device)
    window = torch.zeros(4, device=runtime.device)  # sums of loss, mse, vb and gradient norm since the last line
    seconds = 0.0

    state = folder.load(last_step)
    first_step = state.step if state else 0
    if state:
        log.info("%s goes on from step %d", settings.variant, first_step)
        with torch.no_grad():
            flat.weights.copy_(state.tensors["weights"])
            ema.copy_(state.tensors["ema"])
        moments = {name: state.tensors[name].to(runtime.device) for name in ("exp_avg", "exp_avg_sq")}
        optimiser.state[flat.weights] = {"step": torch.tensor(float(first_step), device=runtime.device), **moments}
        window.copy_(state.tensors["window"])
        seconds = float(state.tensors["seconds"])
    _cut_log(folder.metrics, first_step)

    def snapshot(step: int) -> TrainingState:
        if not torch.isfinite(flat.weights).all():
            raise UserError(_not_finite(settings, step, folder))
        tensors = {"weights": flat.weights.data, "ema": ema, "window": window, "seconds": torch.tensor(seconds)}
        return TrainingState(step, tensors | {name: optimiser.state[flat.weights][name] for name in _MOMENTS})

    saved_at = logged_at = time.monotonic()
    with _sigterm_noticed() as interrupted, folder.metrics.open("a") as lines:
        steps = range(first_step, last_step)
        for step in track(steps, len(steps), f"{settings.variant} seed {settings.seed}", runtime.log_seconds):
            batch = source.batch(step)
            for group in optimiser.param_groups:
                group["lr"] = settings.learning_rate * min(1.0, (step + 1) / max(1, settings.warmup_steps))
            assert flat.weights.grad is not None
            flat.weights.grad.zero_()
            with torch.autocast(runtime.device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
                losses = diffusion.training_losses(network, batch.x0, batch.t, batch.y, batch.noise)
            losses["loss"].mean().backward()
            norm = torch.linalg.vector_norm(flat.weights.grad)
            if settings.gradient_clip is not None:
                flat.weights.grad.mul_((settings.gradient_clip / (norm + 1e-6)).clamp(max=1.0))
            optimiser.step()
            update_ema(ema, flat.weights.detach(), ema_decay_at(step + 1, settings.ema_decay, settings.ema_ramp))
            window += torch.stack([*(losses[name].detach().mean() for name in ("loss", "mse", "vb")), norm])

            done, now = step + 1, time.monotonic()
            if done % WINDOW == 0:
                seconds, logged_at = seconds + now - logged_at, now
                _write_line(lines, settings, folder, done, window / WINDOW, seconds)
                window.zero_()
            if interrupted or now - saved_at > 60 * runtime.save_minutes:
                folder.save(snapshot(done))
                saved_at = now
            if interrupted:
                log.warning("SIGTERM: state saved at step %d in %s", done, folder.path)
                raise Interrupted(143)

    folder.save(snapshot(last_step))
    raw = model.state_dict()
    for name, weights in {"raw": raw, "ema": raw | flat.named(ema)}.items():
        save_model(
            folder.export_path(last_step, f"{name}.safetensors"),
            weights,
            variant=settings.build_variant(),
            input_size=settings.input_size,
            num_classes=settings.num_classes,
            in_channels=settings.in_channels,
            settings_digest=settings.digest,
            step=last_step,
            provenance={"weights": name, "seed": settings.seed, "latents": reader.manifest.content, "seconds": seconds},
        )
    return folder


_MOMENTS = ("exp_avg", "exp_avg_sq")


def export_log(folder: StateFolder, last_step: int, output: Path) -> None:
    """Copy the lines of metrics.jsonl up to ``last_step`` to ``output``."""
    with atomic_path(output) as temporary, temporary.open("w") as copy:
        copy.writelines(line for line in folder.metrics.open() if json.loads(line)["step"] <= last_step)


def _compiled(model: DiT) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The model compiled for its one batch shape, or as it is, with a warning, where no compiler is found."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        log.warning("training.compile: no compiler %s on this machine; training goes on without it.", compiler)
        return model
    compiled: Callable[[Tensor, Tensor, Tensor], Tensor] = torch.compile(model, dynamic=False)
    return compiled


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


def _cut_log(metrics: Path, first_step: int) -> None:
    """Drop lines beyond the state that training goes on from; they will be written again."""
    lines = metrics.read_text().splitlines(keepends=True) if metrics.exists() else []
    with atomic_path(metrics) as temporary:
        temporary.write_text("".join(line for line in lines if _step_of(line) <= first_step))


def _step_of(line: str) -> float:
    """Step of a log line; infinite for a line that a kill left unfinished."""
    try:
        return float(json.loads(line)["step"])
    except json.JSONDecodeError:
        return float("inf")


def _write_line(
    lines: Any, settings: TrainSettings, folder: StateFolder, step: int, means: torch.Tensor, seconds: float
) -> None:
    loss, mse, vb, norm = means.tolist()
    if not torch.isfinite(means).all():
        raise UserError(_not_finite(settings, step, folder))
    record = {"step": step, "loss": loss, "mse": mse, "vb": vb, "gradient_norm": norm, "seconds": round(seconds, 3)}
    lines.write(json.dumps(record) + "\n")
    lines.flush()


def _not_finite(settings: TrainSettings, step: int, folder: StateFolder) -> str:
    return (
        f"{settings.variant}, seed {settings.seed}: the loss or a weight is NaN or infinite within the {WINDOW} steps "
        f"before step {step}. States in {folder.path} are from before that. Lower training.learning_rate, set "
        "training.gradient_clip, or use precision float32."
    )


@contextmanager
def _sigterm_noticed() -> Iterator[list[int]]:
    """A list that stops being empty when SIGTERM arrives, so that the loop can finish its step first."""
    received: list[int] = []

    def notice(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    previous = signal.signal(signal.SIGTERM, notice)
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, previous)
