"""What a study names is looked at before any job."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dit_scaling.common.errors import UserError
from dit_scaling.config import load_study
from dit_scaling.metrics.given_files import require_given_files
from pipeline import TINY, edited

HUB_VAE = {"source": "pretrained", "path": "stabilityai/sd-vae-ft-ema", "latent_channels": 4}


def given(folder: Path, **changes: Any) -> None:
    keys = {key.replace("__", "."): value for key, value in changes.items()}
    require_given_files(load_study(edited(folder, keys, TINY)))


def test_files_to_fetch_may_be_missing(tmp_path: Path) -> None:
    given(tmp_path)
    given(tmp_path, vae=HUB_VAE, resources__cache=str(tmp_path / "none"))


def test_a_given_autoencoder_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "pipeline/vae").mkdir(parents=True)
    (tmp_path / "pipeline/vae/config.json").write_text("{}")
    with pytest.raises(UserError, match=r"the autoencoder is in .*pipeline/vae: name that folder"):
        given(tmp_path, vae=HUB_VAE | {"path": str(tmp_path / "pipeline")})
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKL", "shift_factor": 0.06}))
    with pytest.raises(UserError, match=r"shift_factor is 0\.06"):
        given(tmp_path, vae=HUB_VAE | {"path": str(tmp_path)})


def test_given_checkpoints_and_references_are_looked_at(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"checkpoints\.DiT-Nano/2: none\.pt does not exist"):
        given(tmp_path, checkpoints={"DiT-Nano/2": "none.pt"}, variants=["DiT-Nano/2"])
    reference = tmp_path / "reference.npz"
    extractor = {"kind": "inception", "reference": str(reference)}
    with pytest.raises(UserError, match=r"metrics: inception: .*reference\.npz does not exist"):
        given(tmp_path, metrics__extractor=extractor)
    np.savez(reference, mu=np.zeros(3), sigma=np.triu(np.ones((3, 3))))
    with pytest.raises(UserError, match="sigma is not symmetric"):
        given(tmp_path, metrics__extractor=extractor)
