"""``export``: a checkpoint as a folder of diffusers."""

from functools import partial
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
    licence: Annotated[
        str | None, typer.Option(help="For the model card: id of the hub's list, such as cc-by-4.0, or other.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="For the model card: the training data, in your words.")] = None,
    dataset: Annotated[str | None, typer.Option(help="For the model card: id of the training data on the hub.")] = None,
) -> None:
    """Write a checkpoint and its VAE as a folder that DiTPipeline.from_pretrained loads, with a model card."""
    from dit_scaling.common.seals import check_seals
    from dit_scaling.data.class_order import read_names
    from dit_scaling.models.export import export_pipeline
    from dit_scaling.results.model_card import Given, write_card

    check_seals([checkpoint])
    names = read_names(str(class_names), "--class-names") if class_names else find_class_names(checkpoint)
    card = partial(write_card, checkpoint, given=Given(licence, data, dataset))
    export_pipeline(checkpoint, folder, vae or find_vae(checkpoint), names, weights, num_classes, card)
    typer.echo(
        f"{folder}: load it with dit_scaling.models.export.load_pipeline, or diffusers.DiTPipeline.from_pretrained."
    )
