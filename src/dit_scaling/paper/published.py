"""Published results as data frames, and how far published reproductions of one variant lie apart."""

import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Spread:
    """A relative standard deviation: ``sd`` of ln metric, estimated with ``df`` degrees of freedom."""

    sd: float
    df: int


def table4() -> pd.DataFrame:
    """Table 4 of arXiv 2212.09748: FID-50K (``fid50k``), ``params_m`` and ``gflops`` of the twelve variants."""
    return _read("dit_table4.csv")


def convergence() -> pd.DataFrame:
    """FID-50K against training steps of published runs without guidance: model, steps, fid50k, source."""
    return _read("convergence.csv")


def xl2_long() -> pd.DataFrame:
    """DiT-XL/2 trained for up to 7M steps: the five metrics by guidance scale; empty cells are NaN."""
    return _read("dit_xl2_long.csv")


def landmarks() -> pd.DataFrame:
    """Training loss of healthy runs on ImageNet latents: variant, steps, loss."""
    return _read("landmarks.csv")


def reproductions() -> pd.DataFrame:
    """Independent trainings of one variant: variant, fid50k, framework, protocol, source, caveat (empty: none)."""
    return _read("reproductions.csv").fillna({"caveat": ""})


@cache
def reproduction_spread() -> Spread:
    """Pooled standard deviation of ln FID over all of ``reproductions``: 0.073 with 6 degrees of freedom.

    One number for all variants. A power of FID fits no better (exponent 0.31, likelihood ratio test p = 0.44), as B/4
    and S/2, of equal FID, scatter by 0.5% and 11%; so few trainings leave any exponent from -0.60 to 0.99. Small models
    may scatter more (both S: 9.8%, B/4 and XL/2: 3.1%, on 3 degrees of freedom each), which other latent grids and
    sizes could not borrow. Values whose protocol is another are in it: they make it wider, and what a user's run adds
    to the paper's is what it is to tell.
    """
    return pooled_spread(reproductions())


def spread_choices() -> dict[str, Spread]:
    """The spread by every choice of the trainings that count, the one that verdicts take first."""
    rows = reproductions()
    choices = {
        "all trainings known": rows,
        "without those of another protocol": rows[rows["protocol"] == "same"],
        "size S only": rows[rows["variant"].str.startswith("DiT-S/")],
        "without size S": rows[~rows["variant"].str.startswith("DiT-S/")],
        "without DiT-S/2, whose second run had other steps": rows[rows["variant"] != "DiT-S/2"],
        "PyTorch only": rows[rows["framework"].str.startswith("PyTorch")],
    }
    return {name: pooled_spread(chosen) for name, chosen in choices.items()}


def pooled_spread(rows: pd.DataFrame) -> Spread:
    """sd^2 = sum_v sum_i (ln FID_vi - mean_v)^2 / sum_v (n_v - 1), over the variants with several trainings."""
    logs = [np.log(group.to_numpy(dtype=float)) for _, group in rows.groupby("variant")["fid50k"]]
    df = sum(len(values) - 1 for values in logs)
    return Spread(sd=math.sqrt(sum(float(np.sum((values - values.mean()) ** 2)) for values in logs) / df), df=df)


def _read(name: str) -> pd.DataFrame:
    """A copy, free to be changed."""
    return _parse(name).copy()


@cache
def _parse(name: str) -> pd.DataFrame:
    with (files(__package__) / "published" / name).open(encoding="utf-8") as stream:
        return pd.read_csv(stream, comment="#")
