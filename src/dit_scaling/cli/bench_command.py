"""``bench``: how fast a device is."""

from pathlib import Path
from typing import Annotated

import typer

from dit_scaling.common.errors import UserError


def bench(
    variants: Annotated[
        list[str] | None, typer.Argument(help="For example DiT-XL/2; else the paper's patch 2.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    batch_size: Annotated[int | None, typer.Option(help="Latents of a step, 4 x 32 x 32 each; 128.")] = None,
    precision: Annotated[str, typer.Option(help="bfloat16, tf32 or float32; bfloat16 on CUDA, else float32.")] = "",
    compiled: Annotated[
        bool | None, typer.Option("--compile/--eager", help="torch.compile with static shapes; on CUDA by default.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="To train each variant for, and to do each other thing.")] = 10.0,
    stage: Annotated[
        list[str] | None, typer.Option(help="training, sampling or encoding (and decoding); repeat it; else all.")
    ] = None,
    configfile: Annotated[
        list[Path] | None, typer.Option(help="A study: its variants, batches, precisions and autoencoder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Rows as the table of measured rates has them.")] = False,
) -> None:
    """Measure how fast this device trains, samples and encodes, beside published figures."""
    from dit_scaling.config import load_study
    from dit_scaling.plan.bench import STAGES, tell_bench

    study = load_study(*configfile) if configfile else None
    if study is not None and (batch_size, precision, compiled) != (None, "", None):
        raise UserError("--configfile says batch, precision and compilation: leave --batch-size and the others out.")
    stages = stage or STAGES
    typer.echo(tell_bench(variants or [], device, batch_size, precision, compiled, seconds, stages, study, as_json))
