"""``score``: samples of any model by the study's metrics."""

import logging
from pathlib import Path
from typing import Annotated, Literal

import typer

from dit_scaling.cli.options import JsonOption, tell_json


def score(
    images: Annotated[Path, typer.Argument(help="Samples: npz with arr_0 (ADM's), folder or tar.")],
    reference: Annotated[
        Path,
        typer.Option(
            help="Real images: ADM's reference npz, npz with mu and sigma, folder, tar or npz of images, or a study's "
            "folder reference/FEATURES."
        ),
    ],
    features: Annotated[
        list[str] | None,
        typer.Option(
            help="inception, clean, dinov2, or a study's extractor.json; repeat it. By default these three, or the "
            "extractor of a study's reference."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON record to write.")] = None,
    as_json: JsonOption = False,
    cache: Annotated[Path, typer.Option(help="Folder of the networks' weights.")] = Path("cache"),
    fetch: Annotated[bool, typer.Option(help="Fetch weights that are missing.")] = True,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where networks compute.")] = "auto",
    bootstrap: Annotated[int, typer.Option(min=10, help="Resamples behind the interval of a Frechet distance.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Of resamples, subsets and blocks.")] = 0,
) -> None:
    """Score samples of any model by the study's metrics: FID, sFID, IS, precision, recall, KID and others."""
    from dit_scaling.common.devices import choose_device
    from dit_scaling.config.stages import Scoring
    from dit_scaling.metrics.given_reference import study_extractor
    from dit_scaling.metrics.score_images import Asked, describe_score, score_images
    from dit_scaling.metrics.wanted_networks import WEIGHTS

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    own = study_extractor(reference)
    chosen = tuple(features or ()) or ((str(own),) if own else tuple(WEIGHTS))
    scoring = Scoring(kid_subsets=100, kid_subset_size=1000, neighbours=3, bootstrap=bootstrap, seed=seed)
    record = score_images(Asked(images, reference, chosen, cache, choose_device(device), scoring, fetch), output)
    if as_json:
        tell_json(record)
        return
    typer.echo("\n".join(describe_score(record)))
