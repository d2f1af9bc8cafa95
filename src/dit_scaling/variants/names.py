"""Variants by name, FAMILY-SIZE or FAMILY-SIZE/PATCH.

``DiT-XL/2`` is a transformer of size XL with patch 2, ``UNet-B`` a U-Net of size B, ``my_lab.nets:Net-Tiny/2`` a class
of one's own by its import path. ``DiT@flow-XL/2`` is the same network as DiT-XL/2, trained with objective flow where
the study has another: a family of its own in tables, figures and claims.
"""

import re
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Discriminator, Field, Tag

from dit_scaling.common.section import Before, Count, Section
from dit_scaling.diffusion.process import ObjectiveName
from dit_scaling.variants.sizes import Size, UNetSize

UNET: Final = "UNet"

SIZE = r"[A-Za-z0-9]{1,64}"
CLASS = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"
NAME = rf"([A-Za-z]+|{CLASS})(?:@([a-z]+))?-({SIZE})(?:/([1-9][0-9]*))?"
SLUG = r"[A-Za-z_][A-Za-z0-9_.]*(@[a-z]+)?-[A-Za-z0-9]+(-[0-9]+)?"
"""File names of variants, in which a slash is a hyphen and a colon a dot."""

SizeName = Annotated[str, Field(pattern=rf"^{SIZE}$")]
LONGEST_NAME = 150  # with what names of logs hold beside it, below the 255 bytes of a file name
VariantName = Annotated[str, Field(pattern=rf"^{NAME}$", max_length=LONGEST_NAME)]
FamilyName = Annotated[str, Field(pattern=rf"^([A-Za-z]+|{CLASS})(?:@[a-z]+)?$")]
ClassPath = Annotated[str, Field(pattern=rf"^{CLASS}$")]
Option = int | float | bool | str


class Named(Section):
    """What names a variant."""

    objective: Annotated[ObjectiveName | None, Before(None)] = None
    """Where the name says one: not that of the study."""

    if TYPE_CHECKING:

        @property
        def family(self) -> str: ...
        @property
        def size(self) -> str: ...
        @property
        def patch(self) -> int | None: ...

    @property
    def line(self) -> str:
        """The family as tables and claims tell them apart: network, and objective where the name says one."""
        objective = "" if self.objective is None else f"@{self.objective}"
        return f"{self.family}{objective}"

    @property
    def name(self) -> str:
        return f"{self.line}-{self.size}{'' if self.patch is None else f'/{self.patch}'}"

    @property
    def slug(self) -> str:
        """The name as part of a path: a slash is no part of a wildcard, and a colon has meanings of its own."""
        return self.name.replace("/", "-").replace(":", ".")


class Variant(Named, Size):
    """One transformer of a study, with all that builds it but the shape of its latents."""

    family: Literal["DiT"] = "DiT"
    size: str
    patch: Count


class UNetVariant(Named, UNetSize):
    """One U-Net of a study. It has no patches."""

    family: Literal["UNet"] = UNET
    size: str

    @property
    def patch(self) -> None:
        return None


class ClassVariant(Named):
    """One network of a class of one's own."""

    family: ClassPath
    size: str
    patch: Count | None = None
    """Given to the class as ``patch`` where the name has one."""
    options: dict[str, Option]
    """Arguments of the class that make the size."""
    source: str
    """Digest of the class's file: an edit trains anew."""


def _kind(variant: object) -> str:
    family = variant.get("family", "DiT") if isinstance(variant, dict) else getattr(variant, "family", "")
    return family if family in ("DiT", UNET) else "class"


AnyVariant = Annotated[
    Annotated[Variant, Tag("DiT")] | Annotated[UNetVariant, Tag(UNET)] | Annotated[ClassVariant, Tag("class")],
    Discriminator(_kind),
]


def family_of(name: str) -> str:
    """The family of a variant's name: ``DiT`` of ``DiT-XL/2``, ``DiT@flow`` of ``DiT@flow-XL/2``."""
    return name.split("-", 1)[0]


def network_of(family: str) -> str:
    """The network of a family, whatever the objective: ``DiT`` of ``DiT@flow``."""
    return family.partition("@")[0]


def objective_of(name: str) -> str:
    """The objective that a variant's name says, ``flow`` of ``DiT@flow-XL/2``; empty where it is the study's."""
    return family_of(name).partition("@")[2]


def is_unpatched(name: str) -> bool:
    """Whether a variant of this name may have no patch: a U-Net, or a class of one's own."""
    network = network_of(family_of(name))
    return network == UNET or re.fullmatch(CLASS, network) is not None
