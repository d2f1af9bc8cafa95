"""Config sections ``claims`` and ``deviations``: how verdicts are reached, and why a study differs from the paper."""

from typing import Annotated, Literal

from pydantic import Field

from dit_scaling.common.section import Section
from dit_scaling.variants import VariantName


class Claims(Section):
    """How the verdicts are reached."""

    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    bottlenecks: dict[VariantName, str] = Field(default={})
    """Variants that cannot work by construction, each with its reason; they are no evidence for any claim."""


ProtocolSetting = Literal[
    "data",
    "held-out images",
    "horizontal flip",
    "VAE",
    "latent grid",
    "draws of the posterior",
    "sizes",
    "patches",
    "training steps",
    "batch size",
    "optimiser",
    "learning rate",
    "warm-up",
    "weight decay",
    "gradient clipping",
    "EMA of the weights",
    "class dropout",
    "precision",
    "noise schedule",
    "sampler",
    "guidance scale",
    "samples per model",
    "labels of the samples",
    "features of the distance",
]
"""The rows of the protocol table, which sets a study beside the paper."""
