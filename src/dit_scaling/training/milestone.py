"""The training stage: one milestone of one variant and seed."""

from dataclasses import dataclass
from pathlib import Path

from dit_scaling.common.files import atomic_path, read_json_lines
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
    """Draw loss, its two terms and the gradient norm against steps, as an SVG file."""
    from dit_scaling.charts.sheet import draw_sheet
    from dit_scaling.training.run_curves import draw_log

    lines = read_json_lines(metrics)
    panels = [
        draw_log(lines, {"loss": "loss", "mse": "mse", "vb": "vb"}, "Loss"),
        draw_log(lines, {"gradient_norm": "gradient norm"}, "Gradient norm"),
    ]
    with atomic_path(output) as temporary:
        text = "Means of the log’s windows." if any(panels) else "Nothing was logged."
        temporary.write_text(draw_sheet(title, text, [panel for panel in panels if panel]), encoding="utf-8")
