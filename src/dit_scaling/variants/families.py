"""The kinds of networks: one row each, and the one place that tells them apart without torch."""

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from dit_scaling.common.errors import UserError
from dit_scaling.common.spelling import did_you_mean
from dit_scaling.variants.dit_costs import count_dit_multiply_adds, count_dit_parameters, dit_problems
from dit_scaling.variants.names import NAME, UNET, AnyVariant, ClassVariant, Option, UNetVariant, Variant
from dit_scaling.variants.own_class import count_class_multiply_adds, count_class_parameters, source_digest
from dit_scaling.variants.sizes import SIZES, UNET_SIZES, Size, UNetSize, unet_problems
from dit_scaling.variants.unet_costs import count_unet_multiply_adds, count_unet_parameters

ClassSizes = Mapping[str, Mapping[str, Mapping[str, Option]]]


@dataclass(frozen=True)
class Family:
    """A kind of networks."""

    name: str
    form: str
    """Of its variants' names, with an example."""
    patched: bool
    """Whether a variant's name ends in its patch."""
    sizes_key: str
    """The config's key of a study's own sizes."""
    sizes: Mapping[str, Any]
    """Those that ship."""
    variant: type[Any]
    problems: Callable[[Any, int], list[str]]
    """(variant, input size) to what keeps it from being built, as `key: reason`."""
    shape: Callable[[Any], tuple[int | None, int | None]]
    """Depth and width, where a variant has one number for them."""
    parameters: Callable[[Any, int, int, int], int]
    """(variant, classes, channels, input size) to the number of weights."""
    multiply_adds: Callable[[Any, int, int], int]
    """(variant, input size, channels) to those of one forward pass of one latent."""


def _unet_problems(variant: UNetVariant, input_size: int) -> list[str]:
    return [f"variants: {variant.name}: {problem}" for problem in unet_problems(variant, input_size)]


FAMILIES: dict[str, Family] = {
    row.name: row
    for row in (
        Family(
            name="DiT",
            form="DiT-SIZE/PATCH, for example DiT-XL/2",
            patched=True,
            sizes_key="sizes",
            sizes=SIZES,
            variant=Variant,
            problems=dit_problems,
            shape=lambda variant: (variant.depth, variant.hidden_size),
            parameters=lambda variant, classes, channels, _size: count_dit_parameters(variant, classes, channels),
            multiply_adds=count_dit_multiply_adds,
        ),
        Family(
            name=UNET,
            form="UNet-SIZE, for example UNet-B",
            patched=False,
            sizes_key="unet_sizes",
            sizes=UNET_SIZES,
            variant=UNetVariant,
            problems=_unet_problems,
            shape=lambda variant: (None, variant.channels),
            parameters=lambda variant, classes, channels, _size: count_unet_parameters(variant, classes, channels),
            multiply_adds=count_unet_multiply_adds,
        ),
    )
}
"""Networks that ship; a class of one's own is `OWN`, whatever its name."""

OWN = Family(
    name="class",
    form="package.module:Class-SIZE or package.module:Class-SIZE/PATCH for a class of your own",
    patched=False,
    sizes_key="class_sizes",
    sizes={},
    variant=ClassVariant,
    problems=lambda _variant, _input_size: [],  # building it tells: see health.contract
    shape=lambda _variant: (None, None),
    parameters=count_class_parameters,
    multiply_adds=count_class_multiply_adds,
)


def family_row(variant: AnyVariant) -> Family:
    """The row of a variant."""
    return FAMILIES.get(variant.family, OWN)


def parse_variant(
    name: str,
    sizes: Mapping[str, Size] | None = None,
    unet_sizes: Mapping[str, UNetSize] | None = None,
    class_sizes: ClassSizes | None = None,
) -> AnyVariant:
    """Look up a name among the sizes shipped and a study's own.

    Raises:
        UserError: the name has another form, the size is not in the table, or the class's module is not there.
    """
    match = re.fullmatch(NAME, name)
    if match is None:
        raise _no_name(name, sizes or {}, unet_sizes or {})
    network, objective, size, patch = match.groups()
    said = {"objective": objective} if objective else {}
    if ":" in network:
        own = (class_sizes or {}).get(network, {})
        _check_size(name, size, own, f"class_sizes.{network}")
        return ClassVariant(
            family=network,
            size=size,
            patch=int(patch) if patch else None,
            options=dict(own[size]),
            source=source_digest(network),
            **said,
        )
    row = FAMILIES.get(network)
    if row is None or row.patched != bool(patch):
        raise _no_name(name, sizes or {}, unet_sizes or {})
    given: Mapping[str, Any] = {"sizes": sizes or {}, "unet_sizes": unet_sizes or {}}[row.sizes_key]
    table = given if size in given else row.sizes
    if size not in table:
        _check_size(name, size, {**row.sizes, **given}, "the size table")
    patched = {"patch": int(patch)} if patch else {}
    variant: AnyVariant = row.variant(size=size, **patched, **said, **dict(table[size]))
    return variant


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


def _no_name(name: str, sizes: Iterable[str], unet_sizes: Iterable[str]) -> UserError:
    forms = [row.form for row in (*FAMILIES.values(), OWN)]
    hint = did_you_mean(name, usual_names(sizes, unet_sizes))
    return UserError(f"'{name}' is not a variant name. Write {', or '.join(forms)}.{hint}")


def _check_size(name: str, size: str, known: Collection[str], table: str) -> None:
    if size not in known:
        hint = did_you_mean(size, known)
        raise UserError(f"'{name}': size '{size}' is not in {table} ({', '.join(known)}).{hint}")
