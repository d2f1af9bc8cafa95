"""The report's reading of memorisation: are samples nearer to training images than to unseen ones?"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from scipy import stats

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import read_json
from dit_scaling.common.words import listing, span
from dit_scaling.metrics.copying import LEVEL
from dit_scaling.report.data_uris import embed_picture
from dit_scaling.report.numbers import describe_number
from dit_scaling.report.table import Column, Table, number, words

TOO_FEW = "The samples and held-out images are too few to show any copies."


@dataclass(frozen=True)
class Memorisation:
    """What the page shows: a sentence, what it rests on, a row per variant, and the closest samples of one variant."""

    sentence: str
    basis: str
    table: Table
    shown: str
    picture: str


def view_memorisation(records: Mapping[str, Path], images: int | None, short: Mapping[str, str]) -> Memorisation:
    """Read the records of the memorisation stage; the picture is that of the variant with the smallest share.

    Args:
        records: variant -> memorisation.json, beside which its picture lies.
        images: number of images of the study's source; None where unknown.
        short: names of variants in sentences.

    Raises:
        UserError: a record or the picture is missing or broken.
    """
    found = {variant: read_json(path) for variant, path in records.items()}
    try:
        shares = {variant: record["held_out_share"] for variant, record in found.items()}
        shown = min(shares, key=lambda variant: shares[variant]["share"])
        return Memorisation(
            sentence=_conclude(shares, short),
            basis=_describe_basis(found[shown], images),
            table=_tabulate(found),
            shown=shown,
            picture=embed_picture(records[shown].with_suffix(".png")),
        )
    except (KeyError, TypeError, ValueError) as error:
        where = ", ".join(str(path) for path in records.values())
        raise UserError(
            f"{where}: not records of memorisation ({error}). Run: snakemake --forcerun memorisation."
        ) from None


def read_share(share: Mapping[str, float]) -> str:
    """What the interval of a share says."""
    if share["high"] < share["expected"]:
        return "nearer to training"
    return "nearer to held-out" if share["low"] > share["expected"] else "no sign of copying"


def _conclude(shares: Mapping[str, Mapping[str, float]], short: Mapping[str, str]) -> str:
    """One sentence on all variants, with Bonferroni's correction: each interval is as much wider as their number asks.

    The upper half of an interval tells its reach; the lower half ends at 0.
    """
    tail = (1 - LEVEL) / 2
    wider = float(stats.norm.isf(tail / len(shares)) / stats.norm.isf(tail))
    reach = {variant: wider * (share["high"] - share["share"]) for variant, share in shares.items()}
    copied = [
        short[variant] for variant, share in shares.items() if share["share"] + reach[variant] < share["expected"]
    ]
    expected = next(iter(shares.values()))["expected"]
    lowest, highest = (pick(share["share"] for share in shares.values()) for pick in (min, max))
    spread = span(f"{lowest:.1%}", f"{highest:.1%}")
    # A share c of copies takes the held-out share to (1 - c) of what is expected.
    limit = max(reach.values()) / expected
    if copied:
        lead = f"Samples of {listing(copied)} are nearer to training images than to unseen ones, beyond chance"
    else:
        lead = "No variant's samples are nearer to training images than to unseen ones beyond chance"
    return (
        f"{lead}: held-out images are {expected:.1%} of those searched, and the nearest of {spread} of the samples. "
        + (f"Copies among fewer than about {limit:.0%} of the samples would not show." if limit < 1 else TOO_FEW)
    )


def _describe_basis(record: Mapping[str, Any], images: int | None) -> str:
    held_out = f"{record['held_out']:,} held-out images"
    if images:
        held_out += f" ({record['held_out'] / images:.0%} of all)"
    return f"Searched: {record['training']:,} training images ({record['training_share']:.0%} of them) and {held_out}."


def _tabulate(records: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = [
        {
            "variant": variant,
            "samples": record["samples"],
            **{key: record["held_out_share"][key] for key in ("share", "low", "high", "expected")},
            "reading": read_share(record["held_out_share"]),
            "median_to_training": record["median_to_training"],
            "median_held_out_to_training": record["median_held_out_to_training"],
            **{key: record["copying_test"][key] for key in ("closer", "z")},
        }
        for variant, record in records.items()
    ]
    columns = (
        words("variant"),
        number("samples", narrow=False),
        number("nearest is held-out", "share", lambda value: f"{value:.1%}"),
        Column("95% interval", lambda row: f"{row['low']:.1%} to {row['high']:.1%}"),
        number("expected", form=lambda value: f"{value:.1%}", narrow=False),
        words("reading"),
        number("median distance to training: samples", "median_to_training", describe_number, narrow=False),
        number("held-out images", "median_held_out_to_training", describe_number, narrow=False),
        number("sample nearer than held-out", "closer", lambda value: f"{value:.0%}", narrow=False),
        number("z (Mann-Whitney)", "z", lambda value: f"{value:+.1f}", narrow=False),
    )
    return Table("memorisation", pd.DataFrame(rows), columns)
