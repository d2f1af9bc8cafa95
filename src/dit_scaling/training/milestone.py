"""The training stage: one milestone of one variant and seed."""

import json
from dataclasses import dataclass
from pathlib import Path

from dit_scaling.common.files import atomic_path
from dit_scaling.models.checkpoints import read_header
from dit_scaling.training.launch import TrainJob, train_on_ranks
from dit_scaling.training.loop import train_to
from dit_scaling.training.state import StateFolder, publish


@dataclass(frozen=True)
class MilestoneFiles:
    """What a milestone declares."""

    ema: Path
    raw: Path
    metrics: Path
    curve: Path


def train_milestone(job: TrainJob, files: MilestoneFiles, ranks: int = 1, nodes: int = 1) -> int | None:
    """Do the job on so many GPUs per node and publish weights, log and loss curve of its last step.

    Returns:
        Samples that a rank computed at a time; None where the weights are of a version that did not record it.

    Raises:
        UserError: as `train_to`.
    """
    folder = train(job, ranks, nodes)
    settings, step = job.settings, job.last_step
    publish(folder.export_path(step, "metrics.jsonl"), files.metrics)
    draw_loss_curve(files.metrics, f"{settings.variant.name}, seed {settings.seed}", files.curve)
    publish(folder.export_path(step, "raw.safetensors"), files.raw)
    publish(folder.export_path(step, "ema.safetensors"), files.ema)
    recorded: int | None = read_header(files.ema).provenance.get("micro_batch")
    return recorded


def train(job: TrainJob, ranks: int = 1, nodes: int = 1) -> StateFolder:
    """Do the job in this process, or on so many GPUs per node; its weights and log are in the folder's ``step-N``.

    Raises:
        UserError: as `train_to`.
    """
    if ranks * nodes == 1:
        return train_to(job.settings, job.manifest, job.last_step, job.states, job.runtime)
    return train_on_ranks(job, ranks, nodes)


def draw_loss_curve(metrics: Path, title: str, output: Path) -> None:
    """Draw loss, its two terms and the gradient norm against steps."""
    from matplotlib.figure import Figure

    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    loss_axes, norm_axes = figure.subplots(1, 2)
    for name in ("loss", "mse", "vb"):
        loss_axes.plot([line["step"] for line in lines], [line[name] for line in lines], label=name)
    norm_axes.plot([line["step"] for line in lines], [line["gradient_norm"] for line in lines], color="black")
    loss_axes.set(xlabel="step", ylabel="loss (mean of the log window)", yscale="log", title=title)
    norm_axes.set(xlabel="step", ylabel="gradient norm", yscale="log")
    loss_axes.legend()
    with atomic_path(output) as temporary:
        figure.savefig(temporary)
