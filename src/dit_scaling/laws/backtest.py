"""Laws tested forward on published figures: what is predicted was measured, and was not fitted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dit_scaling.laws.curve import fit_curve
from dit_scaling.laws.frontier import Interval, PutToTest
from dit_scaling.laws.sizes_law import fit_sizes
from dit_scaling.paper.published import convergence, reproduction_spread, table4, xl2_long

LARGEST = "XL"


@dataclass(frozen=True)
class Prediction(PutToTest):
    """One published FID, and what was said of it from others."""

    test: str
    target: str
    fitted: str
    form: str
    predicted: Interval
    measured: float


def back_test() -> list[Prediction]:
    """Every prediction that the published tables allow, none left out."""
    return [*_variants_left_out(), *_largest_from_smaller(), *_later_from_earlier()]


def tabulate(predictions: Sequence[Prediction]) -> pd.DataFrame:
    """A row per prediction: test, target, fitted, form, predicted, low, high, measured, error, covered."""
    return pd.DataFrame(
        [
            {
                "test": p.test,
                "target": p.target,
                "fitted": p.fitted,
                "form": p.form,
                "predicted": p.predicted.value,
                "low": p.predicted.low,
                "high": p.predicted.high,
                "measured": p.measured,
                "error": p.error,
                "covered": p.covered,
            }
            for p in predictions
        ]
    )


def summarise(predictions: Sequence[Prediction]) -> pd.DataFrame:
    """Per test, and together: number, median absolute error, largest, and share covered."""
    table = tabulate(predictions)
    groups = [(str(name), rows) for name, rows in table.groupby("test", sort=False)]
    return pd.DataFrame(
        [
            {
                "test": name,
                "predictions": len(rows),
                "median error": float(np.median(np.abs(rows["error"]))),
                "largest error": float(np.abs(rows["error"]).max()),
                "covered": float(rows["covered"].mean()),
            }
            for name, rows in [*groups, ("together", table)]
        ]
    )


def _variants_left_out() -> Iterator[Prediction]:
    for name in table4()["variant"]:
        yield from _by_sizes("Table 4, each variant from the other eleven", [name], "the other eleven")


def _largest_from_smaller() -> Iterator[Prediction]:
    table = table4()
    for smaller, test in ((("S", "B", "L"), "XL from S, B and L"), (("S", "B"), "L and XL from S and B")):
        targets = table.loc[~table["size"].isin(smaller), "variant"]
        yield from _by_sizes(f"Table 4, {test}", list(targets), ", ".join(smaller))


def _by_sizes(test: str, targets: Sequence[str], fitted: str) -> Iterator[Prediction]:
    table = table4()
    known = table[~table["variant"].isin(targets)]
    law = fit_sizes(known)
    for name in targets:
        row = table[table["variant"] == name]
        interval = law.predict(row, reproduction_spread().sd)
        yield Prediction(test, name, fitted, law.form, interval, float(row["fid50k"].iloc[0]))


def _later_from_earlier() -> Iterator[Prediction]:
    """Each later point of a published curve from the points before it, from two on."""
    curves = convergence()
    curves = curves[curves["model"].str.endswith("+REPA")]
    runs = [(str(model), rows.sort_values("steps")) for model, rows in curves.groupby("model")]
    long = xl2_long()
    long = long[long["cfg_scale"] == 1.0][["steps", "fid50k"]]
    first = table4().set_index("variant")[["steps", "fid50k"]].loc[["DiT-XL/2"]]
    runs.append(("DiT-XL/2", pd.concat([first, long], ignore_index=True).sort_values("steps")))
    for model, rows in runs:
        steps, fids = rows["steps"].to_numpy(dtype=float), rows["fid50k"].to_numpy(dtype=float)
        for count in range(2, len(steps)):
            curve = fit_curve(steps[:count], fids[:count])
            fitted = ", ".join(f"{step / 1000:.0f}K" for step in steps[:count])
            for later in range(count, len(steps)):
                target = f"{model} at {steps[later] / 1000:,.0f}K"
                predicted = curve.predict(steps[later])
                yield Prediction(f"curves, from {count} points", target, fitted, "floor", predicted, fids[later])
