"""The losses behind the figure of them: a row per variant, at the last common step."""

from dit_scaling.losses.loss_names import ABOVE, HEADLINE, RAW, TRAINING
from dit_scaling.report.measurements import Measurements
from dit_scaling.report.numbers import MISSING, describe_quantity, describe_spread
from dit_scaling.report.style import order_variants
from dit_scaling.report.table import Column, Row, Table, words

SHOWN = {
    HEADLINE: "held-out loss",
    ABOVE: "above the best",
    TRAINING: "on training images",
    RAW: "of raw weights",
    "held_out_hybrid": "hybrid loss",
    "held_out_bound": "bound (bits/dim)",
}
"""Head by column; each has its standard error over images in the column NAME_se."""
NARROW = (HEADLINE, ABOVE)


def tabulate_held_out(measured: Measurements) -> Table:
    """Losses of each variant, means over seeds; without columns that no variant has."""
    rows = measured.rows[measured.rows["step"] == measured.final["step"].iloc[0]]
    known = [name for name in SHOWN if name in rows.columns and rows[name].notna().any()]
    kept = [name for column in known for name in (column, f"{column}_se") if name in rows.columns]
    means = rows.dropna(subset=known[:1]).groupby("variant")[kept].mean()
    data = order_variants(measured.final)[["variant", "step", "runs"]]
    data = data[data["variant"].isin(means.index)] if HEADLINE in known else data.iloc[:0]
    return Table("held-out-losses", data.join(means, on="variant"), [words("variant"), *map(_column, known)])


def _column(name: str) -> Column:
    def describe(row: Row) -> str:
        value, error = row[name], row.get(f"{name}_se", float("nan"))
        if value != value:
            return MISSING
        return describe_quantity(value) + (f" ± {describe_spread(error)}" if error == error and error > 0 else "")

    return Column(SHOWN[name], describe, sort=lambda row: row[name], narrow=name in NARROW)
