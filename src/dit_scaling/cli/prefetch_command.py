"""``prefetch``: what jobs would need a network for."""

from pathlib import Path

import typer

from dit_scaling.cli.options import EMBEDDED, ConfigFiles


def prefetch(config: ConfigFiles = EMBEDDED) -> None:
    """Fetch what a study needs from the network into its cache, so that no job needs a network."""
    import logging

    from dit_scaling.config import load_study
    from dit_scaling.config.image_settings import Parquet
    from dit_scaling.data.assets import needed_assets
    from dit_scaling.data.fetch import fetch
    from dit_scaling.data.hub import fetch_images

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    study = load_study(*config)
    for asset in needed_assets(study):
        typer.echo(f"{fetch(asset, Path(study.resources.cache))}: whole, sha256 as {asset.known_from}")
    if isinstance(study.data, Parquet) and study.data.hub is not None:
        for path in fetch_images(study.data):
            typer.echo(f"{path}: whole")
