"""``export-samples``: samples as other evaluation suites read them."""

from pathlib import Path
from typing import Annotated

import typer

from dit_scaling.common.words import count


def export_samples(
    evaluation: Annotated[Path, typer.Argument(help="Folder of one evaluation: results/.../step-N/guidance-G.")],
    output: Annotated[Path, typer.Argument(help="The npz to write; images as arr_0, uint8.")],
) -> None:
    """Write the samples of one evaluation as the npz that ADM's evaluation suite reads."""
    from dit_scaling.common.seals import check_seals
    from dit_scaling.sampling.archive import export_samples as write

    check_seals(evaluation.glob("samples/part-*.npz"))
    typer.echo(f"{output}: {count(write(evaluation, output), 'image')}")
