"""Config sections ``claims`` and ``deviations``: how verdicts are reached, and why a study differs from the paper."""

from typing import Annotated, Literal

from pydantic import Field

from dit_scaling.common.section import Before, Section
from dit_scaling.variants import FamilyName, VariantName


class FamilyClaim(Section):
    """One family over another, at equal Gflops, at every size."""

    better: FamilyName
    than: FamilyName


class Claims(Section):
    """How the verdicts are reached."""

    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    families: Annotated[tuple[FamilyClaim, ...], Before(())] = ()
    """Claims between families, decided before the results are seen: `better` has the lower metric `than` at equal
    Gflops, and the gap does not close with size. A family is what a variant's name begins with: DiT, DiT@flow, UNet."""
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
    "objective",
    "parametrisation",
    "sampler",
    "guidance scale",
    "samples per model",
    "labels of the samples",
    "features of the distance",
]
"""The rows of the protocol table, which sets a study beside the paper."""
