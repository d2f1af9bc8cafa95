"""Published results of other families of models as a data frame; each row with its source and how it was read."""

from importlib.resources import files

import pandas as pd

EQUAL_STEPS, EQUAL_BATCH, EQUAL_RESOLUTION = 400_000, 256, 256
"""What most families published at: compared with each other are these rows only."""


def families() -> pd.DataFrame:
    """FID-50K of published models.

    Columns: family, model, resolution, params_m, gflops, steps, batch, cfg, fid50k, mark, source.
    ``params_m`` and ``gflops`` are NaN where no source was found; ``steps`` is a text, as some count images.
    """
    with (files(__package__) / "published" / "families.csv").open(encoding="utf-8") as stream:
        return pd.read_csv(stream, comment="#", dtype={"steps": str})


def at_equal_steps() -> pd.DataFrame:
    """The rows at 400K steps of batch 256 on ImageNet at 256x256 without guidance."""
    table = families()
    steps = pd.to_numeric(table["steps"], errors="coerce")
    equal = (steps == EQUAL_STEPS) & (table["batch"] == EQUAL_BATCH) & (table["cfg"] == "no")
    return table[equal & (table["resolution"] == EQUAL_RESOLUTION)].reset_index(drop=True)
