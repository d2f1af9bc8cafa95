"""``export``: a checkpoint as a folder of diffusers."""

from pathlib import Path
from typing import Annotated

import typer

from dit_scaling.cli.options import CHECKPOINT, ClassesOption, WeightsOption
from dit_scaling.cli.study_of_checkpoint import find_class_names, find_vae


def export(
    checkpoint: Annotated[Path, typer.Argument(help=CHECKPOINT)],
    folder: Annotated[Path, typer.Argument(help="Folder to make.")],
    vae: Annotated[
        str | None, typer.Option(help="vae.json, AutoencoderKL folder or hub id; by default the study's own vae.json.")
    ] = None,
    weights: WeightsOption = "ema",
    num_classes: ClassesOption = None,
    class_names: Annotated[
        Path | None, typer.Option(help="File of one class name a line; by default those of the study's images.")
    ] = None,
) -> None:
    """Write a checkpoint and its VAE as a folder that diffusers.DiTPipeline.from_pretrained loads."""
    from dit_scaling.common.seals import check_seals
    from dit_scaling.data.class_order import read_names
    from dit_scaling.models.export import export_pipeline

    check_seals([checkpoint])
    names = read_names(str(class_names), "--class-names") if class_names else find_class_names(checkpoint)
    export_pipeline(checkpoint, folder, vae or find_vae(checkpoint), names, weights, num_classes)
    typer.echo(
        f"{folder}: load it with dit_scaling.models.export.load_pipeline, or diffusers.DiTPipeline.from_pretrained."
    )
