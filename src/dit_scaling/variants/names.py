"""Variants by name: ``DiT-XL/2`` is a transformer of size XL with patch 2, ``UNet-B`` a U-Net of size B."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import Field, TypeAdapter

from dit_scaling.common.errors import UserError
from dit_scaling.common.section import Count
from dit_scaling.common.spelling import did_you_mean
from dit_scaling.variants.sizes import SIZES, UNET_SIZES, Size, UNetSize

T = TypeVar("T")

UNET: Final = "UNet"

SIZE = r"[A-Za-z0-9]{1,64}"
DIT_NAME = rf"DiT-({SIZE})/([1-9][0-9]*)"
UNET_NAME = rf"{UNET}-({SIZE})"

SizeName = Annotated[str, Field(pattern=rf"^{SIZE}$")]
VariantName = Annotated[str, Field(pattern=rf"^({DIT_NAME}|{UNET_NAME})$")]


class Variant(Size):
    """One transformer of a study, with all that builds it but the shape of its latents."""

    family: Literal["DiT"] = "DiT"
    size: str
    patch: Count

    @property
    def name(self) -> str:
        return f"{self.family}-{self.size}/{self.patch}"

    @property
    def slug(self) -> str:
        """The name as part of a path: a slash is no part of a wildcard."""
        return self.name.replace("/", "-")


class UNetVariant(UNetSize):
    """One U-Net of a study. It has no patches."""

    family: Literal["UNet"] = UNET
    size: str

    @property
    def name(self) -> str:
        return f"{self.family}-{self.size}"

    @property
    def slug(self) -> str:
        """The name as part of a path."""
        return self.name

    @property
    def patch(self) -> None:
        return None


AnyVariant = Annotated[Variant | UNetVariant, Field(discriminator="family")]


def parse_variant(
    name: str,
    sizes: Mapping[str, Size] | None = None,
    unet_sizes: Mapping[str, UNetSize] | None = None,
) -> AnyVariant:
    """Look up ``DiT-SIZE/PATCH`` or ``UNet-SIZE`` among the sizes shipped, ``sizes`` and ``unet_sizes``.

    Raises:
        UserError: the name has another form, or the size is not in the table.
    """
    if match := re.fullmatch(DIT_NAME, name):
        return Variant(size=match[1], patch=int(match[2]), **dict(_size_of(name, match[1], sizes or {}, SIZES)))
    if match := re.fullmatch(UNET_NAME, name):
        return UNetVariant(size=match[1], **dict(_size_of(name, match[1], unet_sizes or {}, UNET_SIZES)))
    raise UserError(
        f"'{name}' is not a variant name. Write DiT-SIZE/PATCH, for example DiT-XL/2, or UNet-SIZE, for example UNet-B."
        + did_you_mean(name, usual_names(sizes or {}, unet_sizes or {}))
    )


def usual_names(sizes: Iterable[str], unet_sizes: Iterable[str]) -> list[str]:
    """Names of variants of the sizes shipped and of others by name, with the paper's patches and 1."""
    dits = [f"DiT-{size}/{patch}" for size in (*SIZES, *sizes) for patch in (1, 2, 4, 8)]
    return [*dits, *(f"{UNET}-{size}" for size in (*UNET_SIZES, *unet_sizes))]


def variant_from_fields(fields: Mapping[str, Any]) -> AnyVariant:
    """A variant back from JSON.

    Raises:
        ValidationError: a field is missing, unknown or of another type.
    """
    variant: AnyVariant = TypeAdapter(AnyVariant).validate_json(json.dumps(fields))
    return variant


def _size_of(name: str, size: str, own: Mapping[str, T], shipped: Mapping[str, T]) -> T:
    """The size of that name in a study's ``own`` table, or among those ``shipped``."""
    for table in (own, shipped):
        if size in table:
            return table[size]
    known = {**shipped, **own}
    hint = did_you_mean(size, known)
    raise UserError(f"'{name}': size '{size}' is not in the size table ({', '.join(known)}).{hint}")
