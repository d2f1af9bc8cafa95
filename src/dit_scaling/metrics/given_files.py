"""The files that a study names, looked at before any job: whether they are there, and what can be told in a second."""

from pathlib import Path

from dit_scaling.config.metrics_settings import GivenNetwork
from dit_scaling.config.study import Study
from dit_scaling.data.assets import locate_file, locate_vae
from dit_scaling.latents.vae_folder import read_vae_config
from dit_scaling.metrics.moments import load_moments


def require_given_files(study: Study) -> None:
    """See that given autoencoder, checkpoints, weights and references are there; files to fetch may be missing.

    Of an autoencoder its config is read, of a reference its moments. Weights are not opened.

    Raises:
        UserError: one is missing and none that can be fetched, or is not what it should be.
    """
    cache = Path(study.resources.cache)
    if study.vae.source == "pretrained":
        folder = locate_vae(study.vae.path, cache)
        if folder.is_dir():
            read_vae_config(folder)
    for variant, name in study.checkpoints.items():
        locate_file(name, cache, f"checkpoints.{variant}")
    for network in study.metrics.extractors:
        if not isinstance(network, GivenNetwork):
            continue
        for file in network.files:
            locate_file(file, cache, f"metrics: {network.kind}")
        if network.reference and (reference := locate_file(network.reference, cache, network.kind)).is_file():
            load_moments(reference)
