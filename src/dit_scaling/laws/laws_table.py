"""The table that laws are fitted to: read from a study's results, checked, and cut to what one law may join."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dit_scaling.claims.metrics_table import ABOUT_RUNS
from dit_scaling.common.errors import UserError
from dit_scaling.common.spelling import did_you_mean
from dit_scaling.metrics.catalogue import no_distance
from dit_scaling.variants import family_of

COLUMNS = ("variant", "seed", "step", "params", "gflops", "flops", "images", "budget", "role")
"""Of every row, a run and export; metrics stand beside them."""
POSITIVE = ("params", "gflops", "flops", "images")


@dataclass(frozen=True)
class Series:
    """Variants of one family and one patch. Losses of several objectives, or kinds of network, are no one law's."""

    family: str
    patch: str
    """Empty where variants have none."""
    rows: pd.DataFrame
    left_out: tuple[str, ...]
    """Families, and patches of the family, that the table has too."""

    @property
    def told(self) -> str:
        """What is fitted and what is not, in a sentence; empty where the table has nothing else."""
        if not self.left_out:
            return ""
        return f"Fitted: {_name(self.family, self.patch)}. Left out: {', '.join(self.left_out)}."


def read_laws_table(results: Path) -> pd.DataFrame:
    """The table of a folder of results, a row per run and export: ``COLUMNS`` and the metrics.

    Budgets are empty where a study names none.

    Raises:
        UserError: the folder holds no such table, or the table lacks rows, columns or numbers.
    """
    losses, metrics = results / "losses.csv", results / "metrics.parquet"
    path = losses if losses.is_file() else metrics
    if not path.is_file():
        raise UserError(f"{results} holds no losses.csv and no metrics.parquet. Give the folder of a finished study.")
    try:
        if path == metrics:
            table = _of_metrics(pd.read_parquet(metrics))
        else:
            table = pd.read_csv(losses, keep_default_na=False, na_values=[""])
    except KeyError as error:
        raise UserError(f"{path} has no column {error}. Give the table that the study wrote.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a table ({error}). Give the table that the study wrote.") from None
    _check(table, path)
    return table.fillna({"role": ""})


def one_series(table: pd.DataFrame, family: str | None = None) -> Series:
    """The rows of ``family`` at the patch with most sizes; by default of DiT, else of the only family.

    Raises:
        UserError: the table lacks ``family``, or has several without DiT and none is named.
    """
    families, patches = table["variant"].map(family_of), table["variant"].str.partition("/")[2]
    there = sorted(set(families))
    if family is None and "DiT" not in there and len(there) > 1:
        raise UserError(f"The table has families {', '.join(there)}, and laws are of one. Name it with --family.")
    chosen = family or ("DiT" if "DiT" in there else there[0])
    if chosen not in there:
        raise UserError(f"--family {chosen}: the table has {', '.join(there)}.{did_you_mean(chosen, there)}")
    own = table[families == chosen]
    sizes = own.groupby(patches[own.index])["variant"].nunique()
    patch = str(sizes.idxmax())
    others = [name for name in there if name != chosen]
    others += [_name(chosen, str(other)) for other in sizes.index if other != patch]
    return Series(chosen, patch, own[patches[own.index] == patch].reset_index(drop=True), tuple(others))


def check_metric(table: pd.DataFrame, metric: str) -> None:
    """Refuse a column that no law can be fitted to.

    Raises:
        UserError: the table has no such column, it says what a row is of, holds no numbers, or higher is better in it.
    """
    if metric not in table.columns:
        raise UserError(f"The table has no column {metric}: its losses were not measured.")
    problem = no_distance(metric)
    if metric in (*COLUMNS, *ABOUT_RUNS) or not pd.api.types.is_numeric_dtype(table[metric]):
        problem = "what a row is of, or no numbers"
    if problem:
        raise UserError(f"--metric {metric}: this column is {problem}. Laws take a loss or a distance.")


def _name(family: str, patch: str) -> str:
    return f"{family} at patch {patch}" if patch else family


def _check(table: pd.DataFrame, path: Path) -> None:
    missing = [column for column in COLUMNS if column not in table.columns]
    if missing:
        raise UserError(f"{path} has no column {', '.join(missing)}. Give the table that the study wrote.")
    if table.empty:
        raise UserError(f"{path} has no rows, so there is nothing to fit. Give the table of a finished study.")
    for column in POSITIVE:
        values = pd.to_numeric(table[column], errors="coerce")
        bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
        if len(bad):
            raise UserError(
                f"{path}: column '{column}' is {table[column].iloc[bad[0]]} in data row {bad[0] + 1}, and not a "
                "positive number. Correct it or leave the row out."
            )
    if table["variant"].isna().any():
        raise UserError(f"{path}: column 'variant' has empty cells. Name each row's variant.")


def _of_metrics(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the first guidance scale under the names of the table of losses."""
    rows: pd.DataFrame = table[table["guidance_scale"] == table["guidance_scale"].iloc[0]] if len(table) else table
    flops = 2e9 * rows["train_gflops"]  # a multiply-add is two operations
    named = rows.assign(params=1e6 * rows["params_m"], flops=flops, images=rows["images_seen"])
    return named.assign(budget=np.nan, role="")
