"""``import-latents``: latents of others become shards."""

import json
import logging
from pathlib import Path
from typing import Annotated, Literal

import typer

from dit_scaling.common.words import count


def import_latents(
    source: Annotated[Path, typer.Argument(help="Folder of the latents, as it came.")],
    folder: Annotated[Path, typer.Argument(help="New folder for their shards, which latents.source then names.")],
    layout: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="fast-dit, repa, lightningdit or webdataset; by default what the source looks like.",
            show_default=False,
        ),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(
            min=1e-6,
            max=1e6,
            help="What the latents are multiplied by already: 1 for nothing. By default 0.18215 for fast-dit, 1 for "
            "repa and lightningdit; webdataset does not say.",
            show_default=False,
        ),
    ] = None,
    holds: Annotated[
        Literal["latent", "mean-std", "mean-logvar"] | None,
        typer.Option(
            help="What the channels are: one latent, or the posterior's mean and then its standard deviation or "
            "log-variance. By default mean-std for repa, latent for fast-dit and lightningdit; webdataset does not "
            "say.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make shards of latents that others have published or extracted, for studies that then encode no images."""
    from dit_scaling.latents import importing

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    found = importing.import_latents(source, folder, layout, holds, scale)
    channels = ", ".join(
        f"{mean:.3g} ({std:.3g})" for mean, std in zip(found.channel_mean, found.channel_std, strict=True)
    )
    height, width = found.latent_shape[2:]
    mirrors = "with their mirrors" if found.origin.mirrored else "without mirrors"
    typer.echo(
        f"{folder}: {count(found.count, 'latent')} of {found.channels}x{height}x{width} {mirrors}, of "
        f"{count(len(found.label_histogram), 'class')}, from {found.origin.layout} ({found.origin.each})."
    )
    typer.echo(f"Mean (standard deviation) of each channel, with {found.multiplied_by:g} divided out: {channels}.")
    if not found.origin.log_variance:
        typer.echo("They have no log-variance: training sees each as it is, at every step.")
    typer.echo("In a study whose images are those of these latents, in a config file:")
    typer.echo(f"  latents: {{source: {json.dumps(str(folder), ensure_ascii=False)}}}")  # quoted, as YAML reads it too
    if not found.origin.mirrored:
        typer.echo("  training: {horizontal_flip: false}")
