"""A study's runs sampled once more: by another sampler, or in other numbers of steps."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dit_scaling.claims.metrics_table import REQUIRED, check_protocol, check_table
from dit_scaling.claims.table_file import read_table_file
from dit_scaling.common.errors import UserError
from dit_scaling.diffusion.samplers import SAMPLERS
from dit_scaling.report.measurements import Measurements

WAY = ["variant", "sampler", "sampling_steps"]
EQUAL = ("extractor", "n_samples")
"""Columns in which distances must agree to be compared."""
NEEDED = (*REQUIRED, "seed", "step", "guidance_scale", "train_gflops", "tokens", *WAY[1:], *EQUAL)


def read_samplings(paths: Sequence[Path], measured: Measurements) -> tuple[pd.DataFrame, ...]:
    """Tables of metrics that may stand beside the study's own.

    Args:
        paths: the study's sampling-steps.csv, and copies of metrics.csv or metrics.parquet of the same study, each kept
            from when it was sampled in another way.
        measured: the study's own.

    Returns:
        of each table, and each number of sampling steps in it, the rows at the study's first guidance scale and last
        common step, as ``check_table`` gives them.

    Raises:
        UserError: a table is missing or broken, lacks a column, has variants that the study lacks, names an unknown
            sampler, differs from the study in features, number of samples, guidance scale or step; or a variant was
            sampled in the same way in two of them, or in the study itself.
    """
    found, seen = [], dict.fromkeys(_ways(measured.rows), "the study itself")
    for path in paths:
        for rows in _read(path, measured):
            for way in _ways(rows):
                if way in seen:
                    variant, sampler, steps = way
                    raise UserError(
                        f"{path} has {variant} by {sampler} in {steps} steps, as {seen[way]} has. Leave one out."
                    )
            seen |= dict.fromkeys(_ways(rows), str(path))
            found.append(rows)
    return tuple(found)


def _read(path: Path, measured: Measurements) -> list[pd.DataFrame]:
    table = read_table_file(path, REQUIRED)
    missing = [name for name in (*NEEDED, measured.metric) if name not in table.columns]
    if missing:
        raise UserError(f"{path} has no column {', '.join(missing)}. Give a metrics.csv of this study.")
    step = int(measured.final["step"].iloc[0])
    numbers = table[["guidance_scale", "step"]].apply(pd.to_numeric, errors="coerce")
    chosen = (numbers["guidance_scale"] == measured.guidance_scale) & (numbers["step"] == step)
    if not chosen.any():
        raise UserError(
            f"{path} has no rows at guidance scale {measured.guidance_scale:g} and step {step:,}, where the study's "
            "figures are. Sample it there."
        )
    groups = table[chosen].groupby("sampling_steps", sort=False, dropna=False)
    return [_check(rows, path, measured) for _, rows in groups]


def _check(table: pd.DataFrame, path: Path, measured: Measurements) -> pd.DataFrame:
    """The rows of one number of sampling steps."""
    rows = check_table(table, measured.metric, str(path))
    check_protocol(rows, str(path))
    strange = sorted({*rows["variant"]} - {*measured.final["variant"]})
    if strange:
        raise UserError(f"{path} has variants that the study lacks: {', '.join(strange)}. Give a table of this study.")
    unknown = sorted({*rows["sampler"]} - SAMPLERS.keys())
    if unknown:
        raise UserError(f"{path}: sampler {', '.join(unknown)} is unknown; there are {', '.join(SAMPLERS)}.")
    for column in EQUAL:
        ours, theirs = measured.rows[column].iloc[0], rows[column].iloc[0]
        if ours != theirs:
            raise UserError(f"{path}: {column} is {theirs}, the study's is {ours}. Distances compare only at one.")
    return rows


def _ways(rows: pd.DataFrame) -> list[tuple[str, str, int]]:
    return list(rows[WAY].drop_duplicates().itertuples(index=False, name=None))
