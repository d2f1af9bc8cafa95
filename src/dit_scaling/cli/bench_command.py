"""``bench``: how fast a device is."""

from pathlib import Path
from typing import Annotated

import typer

from dit_scaling.cli.options import JsonOption
from dit_scaling.common.errors import UserError
from dit_scaling.common.spelling import did_you_mean

DEVICES = ("auto", "cpu", "cuda")


def bench(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="VARIANT|CONFIG",
            help="For example DiT-XL/2, or the config files of a study; the paper's patch 2 where nothing is named.",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    batch_size: Annotated[int | None, typer.Option(help="Latents of a step, 4 x 32 x 32 each; 128.")] = None,
    precision: Annotated[str, typer.Option(help="bfloat16, tf32 or float32; bfloat16 on CUDA, else float32.")] = "",
    compiled: Annotated[
        bool | None, typer.Option("--compile/--eager", help="torch.compile with static shapes; on CUDA by default.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="To train each variant for, and to do each other thing.")] = 10.0,
    stage: Annotated[
        list[str] | None, typer.Option(help="train, sample or encode (and decode); repeat it; else all.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure how fast this device trains, samples and encodes, beside published figures.

    Of a study, its variants are measured with its batches, precisions and autoencoder. The rows of --json are those of
    the table of measured rates.
    """
    from dit_scaling.config import load_study
    from dit_scaling.plan.bench import STAGES, Asked, tell_bench

    if device not in DEVICES:
        raise UserError(f"--device {device}: choose one of {', '.join(DEVICES)}.{did_you_mean(device, DEVICES)}")
    config = [Path(word) for word in targets or [] if word.endswith((".yaml", ".yml"))]
    variants = [word for word in targets or [] if Path(word) not in config]
    study = load_study(*config) if config else None
    if study is not None and (batch_size, precision, compiled) != (None, "", None):
        raise UserError("a study says batch, precision and compilation: leave --batch-size and the others out.")
    asked = Asked(device, batch_size, precision, compiled, seconds, stage or STAGES)
    typer.echo(tell_bench(variants, asked, study, as_json))
