"""Whether the Gflops of a table are those of its variants, in one unit."""

import math
import re
from typing import Any

import pandas as pd

from dit_scaling.claims.table_values import refuse
from dit_scaling.common.errors import UserError
from dit_scaling.variants import (
    SIZES,
    AnyVariant,
    UNetVariant,
    count_gflops,
    count_parameters,
    parse_variant,
)

MOST = {"gflops": 1e6, "params_m": 1e6}
"""More is another unit: single multiply-adds, single weights."""
TOLERANCE = 0.05
"""Relative: Table 4 rounds 0.363 to 0.36, and other channels of the latents cost a little."""
LATENT_SIZES = (32, 64, 16, 8, 24, 40, 48, 56, 96, 128)
"""The paper's first."""
FACTORS = {
    2.0: "FLOPs that count a multiply-add as two",
    0.5: "half a multiply-add each",
    1e9: "single multiply-adds",
    2e9: "single FLOPs, two a multiply-add",
    1e3: "1e6 multiply-adds",
    1e-3: "1e12 multiply-adds",
}
"""What a multiple of a variant's Gflops was counted in."""


def check_costs(table: pd.DataFrame, where: str) -> None:
    """Refuse Gflops of another unit, of two units, and Gflops that fall as a model gets larger or its patch smaller.

    Args:
        table: checked columns variant, family, size, patch, params_m, gflops, and tokens where it is known.
        where: names the table.

    Raises:
        UserError: as said above.
    """
    for column, most in MOST.items():
        refuse(table, table[column] >= most, column, f"over {most:g}, no figure in units of 1e9 or 1e6", where)
    models = table.drop_duplicates("variant")
    _refuse_units(unit_factors(models), where)
    _refuse_falling(models, where)


def costs_note(table: pd.DataFrame) -> str | None:
    """What to say of a table whose Gflops all are the same multiple of what its variants are known to cost."""
    factors = {factor for factor in unit_factors(table.drop_duplicates("variant")).values() if factor != 1}
    if not factors:
        return None
    factor = factors.pop()
    return (
        f"the table's Gflops are {factor:g} times those of its variants on latents of 32 x 32, as {FACTORS[factor]} "
        "are: verdicts compare ratios, which stay the same"
    )


def unit_factors(models: pd.DataFrame) -> dict[str, float]:
    """Gflops over those known, by variant, where they are a multiple in ``FACTORS`` or agree (1).

    Only variants whose parameters are a shipped one's count as known. Without tokens the latents have the size by which
    most variants are explained.
    """
    shipped = map(_shipped, models["variant"], models["params_m"])
    known = {name: variant for name, variant in zip(models["variant"], shipped, strict=True) if variant}
    rows = models[models["variant"].isin(known)].to_dict("records")

    def explained(latent_size: int | None) -> dict[str, float]:
        found = {}
        for row in rows:
            variant = known[row["variant"]]
            size = latent_size or round(math.sqrt(row["tokens"]) * row["patch"])
            if variant.patch is not None and size % variant.patch:
                continue
            ratio = row["gflops"] / count_gflops(variant, size)
            factor = next((f for f in (1.0, *FACTORS) if abs(ratio / f - 1) <= TOLERANCE), None)
            if factor is not None:
                found[row["variant"]] = factor
        return found

    if "tokens" in models.columns and models["tokens"].notna().all():
        return explained(None)
    return max(map(explained, LATENT_SIZES), key=len)


def _shipped(name: str, params_m: float) -> AnyVariant | None:
    try:
        variant = parse_variant(name)
    except UserError:
        return None
    if isinstance(variant, UNetVariant):
        return None
    if abs(params_m * 1e6 / count_parameters(variant, input_size=LATENT_SIZES[0]) - 1) > TOLERANCE:
        return None
    return variant


def _refuse_units(factors: dict[str, float], where: str) -> None:
    by_factor: dict[float, list[str]] = {}
    for variant, factor in factors.items():
        by_factor.setdefault(factor, []).append(variant)
    other = next((factor for factor in by_factor if factor != 1), None)
    if other is None or (len(by_factor) == 1 and other in (2.0, 0.5)):
        return
    names = ", ".join(by_factor[other][:3])
    mixed = " while others agree with theirs" if len(by_factor) > 1 else ""
    raise UserError(
        f"{where}: column 'gflops' is {other:g} times the known Gflops of {names}, as {FACTORS[other]} are{mixed}. "
        "Give 1e9 multiply-adds of one forward pass in every row."
    )


def _refuse_falling(models: pd.DataFrame, where: str) -> None:
    """Sizes that we ship grow in width and depth; of others more weights may cost less, so only patches count there."""
    order = {size: number for number, size in enumerate(SIZES)}
    patched = models.dropna(subset="patch")
    rows = [{str(key): value for key, value in row.items()} for row in patched.to_dict("records")]
    pairs = [
        (a, b, reason)
        for a in rows
        for b in rows
        if a["family"] == b["family"] and (reason := _costs_more(a, b, order)) and a["gflops"] <= b["gflops"]
    ]
    if pairs:
        more, less, reason = pairs[0]
        raise UserError(
            f"{where}: {more['variant']} has {more['gflops']:g} Gflops and {less['variant']} "
            f"{less['gflops']:g}, though {reason}. Correct column 'gflops', or the names."
        )


def _costs_more(a: dict[str, Any], b: dict[str, Any], order: dict[str, int]) -> str:
    """Why ``a`` must cost more than ``b``; empty where it need not."""
    if a["size"] == b["size"] and a["patch"] < b["patch"]:
        return "its patch is smaller at the same size"
    larger = order.get(a["size"], -1) > order.get(b["size"], len(order)) and a["params_m"] > b["params_m"]
    return "it is larger at the same patch" if larger and a["patch"] == b["patch"] else ""


def name_parts(variant: str) -> tuple[str, float | None] | None:
    """Size and patch that a name ``FAMILY-SIZE/PATCH`` or ``FAMILY-SIZE`` holds; None for a name of another form."""
    match = re.fullmatch(r"[A-Za-z]+(?:@[a-z]+)?-([A-Za-z0-9]+)(?:[/-](\d+))?", variant)
    return (match[1], float(match[2]) if match[2] else None) if match else None
