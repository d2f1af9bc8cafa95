"""``diagnose``: what is wrong with a checkpoint."""

from pathlib import Path
from typing import Annotated

import typer

from dit_scaling.cli.options import CHECKPOINT, ClassesOption, WeightsOption
from dit_scaling.cli.study_of_checkpoint import find_vae, require_in_study


def diagnose(
    checkpoint: Annotated[Path, typer.Argument(help=CHECKPOINT)],
    page: Annotated[Path, typer.Argument(help="Page to write.")] = Path("diagnosis.html"),
    vae: Annotated[str | None, typer.Option(help="vae.json, AutoencoderKL folder or hub id; else the study's.")] = None,
    latents: Annotated[
        Path | None, typer.Option(help="manifest.json of latents like its own; else the study's.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Steps of the sampler; the paper has 250.")] = 50,
    weights: WeightsOption = "ema",
    num_classes: ClassesOption = None,
    objective: Annotated[
        str | None, typer.Option(help="Of weights that do not say it, as released SiT files: flow; else ddpm.")
    ] = None,
    schedule: Annotated[str | None, typer.Option(help="Of ddpm weights that do not say it; else linear.")] = None,
    prediction: Annotated[
        str | None, typer.Option(help="Of ddpm weights that do not say it: epsilon or v_prediction; else epsilon.")
    ] = None,
) -> None:
    """Show what a checkpoint does, and name the likeliest cause where its samples are bad."""
    from dit_scaling.common.lacking_memory import fixed_memory_named
    from dit_scaling.common.seals import check_seals
    from dit_scaling.health.diagnose import Case
    from dit_scaling.health.diagnose import diagnose as examine
    from dit_scaling.latents.autoencoder import load_any_vae

    check_seals([checkpoint])
    stated = {"objective": objective, "schedule": schedule, "prediction": prediction}
    raw = checkpoint.with_name("raw.safetensors")
    with fixed_memory_named(f"the diagnosis of {checkpoint}"):
        case = Case(
            checkpoint,
            raw if raw.exists() and raw != checkpoint else None,
            load_any_vae(vae or find_vae(checkpoint)),
            latents or require_in_study(checkpoint, "latents/manifest.json", "--latents"),
            weights,
            num_classes,
            {key: value for key, value in stated.items() if value is not None},
        )
        result = examine(case, steps, page)
    typer.echo(f"{result.found.capitalize()}. {result.cause}")
    typer.echo(f"The page: {page}")
