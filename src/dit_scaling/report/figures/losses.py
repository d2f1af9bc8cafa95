"""Training loss and gradient norm against steps, as the paper's figure 13."""

import pandas as pd

from dit_scaling.charts.panel import NAME_GAP, TOP, Line, Panel, name_margin
from dit_scaling.charts.scales import Scale, describe_steps, log_scale
from dit_scaling.common.words import listing
from dit_scaling.report.figures.material import Drawn, Material
from dit_scaling.variants import objective_of

CURVE_POINTS = 60  # bins of a loss curve: enough to see, small enough to put in a page
SPIKE = 5.0  # times the median of the gradient norm from which it is worth a word
SETTLED = 0.05  # share of training after which a spike counts, and which the axis fits
PANELS = {"loss": "Training loss", "gradient_norm": "Gradient norm"}


def draw_losses(material: Material) -> Drawn:
    """Means over stretches of steps and over seeds, one line a variant, named at its end."""
    binned = bin_curves(material.curves)
    if binned.empty:
        return Drawn("No training log was kept: the weights were given.", "", (), binned)
    panels = tuple(_draw_panel(material, binned, column) for column in PANELS)
    return Drawn(
        finding=_describe(material, binned),
        text="Means over equal stretches of each run and over its seeds.",
        panels=panels,
        data=binned,
    )


def bin_curves(curves: pd.DataFrame) -> pd.DataFrame:
    """Means of step, loss and gradient norm over at most ``CURVE_POINTS`` equal stretches of steps, and over seeds."""
    width = max(1, -(-int(curves["step"].max()) // CURVE_POINTS)) if len(curves) else 1
    stretch = (curves["step"] - 1) // width
    grouped = curves.groupby(["variant", stretch.rename("stretch")], sort=False)
    means = grouped[["step", "loss", "gradient_norm"]].mean()
    return means.reset_index().drop(columns="stretch").sort_values(["variant", "step"], ignore_index=True)


def _draw_panel(material: Material, binned: pd.DataFrame, column: str) -> Panel:
    names = [name for name in material.styles if name in set(binned["variant"])]
    last = float(binned["step"].max())
    settled = binned[(binned[column] > 0) & (binned["step"] > SETTLED * last)]
    values = settled[column] if len(settled) else binned.loc[binned[column] > 0, column]
    panel = Panel(
        said=f"{PANELS[column]} of each variant against training steps",
        x=Scale(0.0, last, log=False),
        y=log_scale(values if len(values) else [1.0]),
        x_title="Training steps",
        y_title=PANELS[column],
        height=max(270.0, TOP + 60 + NAME_GAP * len(names)),
        right=name_margin(material.short[name] for name in names),
        x_text=describe_steps,
        names_in_margin=True,
    )
    for name in names:
        style = material.styles[name]
        rows = binned[(binned["variant"] == name) & (binned[column] > 0) & (binned[column] <= panel.y.high)]
        places = tuple((name, float(x), float(y)) for x, y in zip(rows["step"], rows[column], strict=True))
        panel.add_line(Line(places, style.hue, material.short[name], kind="curve", dash=style.shape))
    return panel


def _describe(material: Material, binned: pd.DataFrame) -> str:
    """Spikes of the gradient norm by name; else which variant ends at the lowest loss."""
    spikes = []
    for name, run in binned.groupby("variant", sort=False):
        late = run[run["step"] > SETTLED * run["step"].max()]["gradient_norm"]
        if len(late) and late.median() > 0 and late.max() > SPIKE * late.median():
            spikes.append(f"{material.short[str(name)]} to {late.max() / late.median():.0f} times")
    if spikes:
        return f"The gradient norm jumped: {listing(spikes[:3])} its median{', and others' if len(spikes) > 3 else ''}"
    last = binned.groupby("variant")["loss"].last()
    if len(set(map(objective_of, last.index))) > 1:
        return "No run spiked; losses compare within one objective only"
    return f"No run spiked; {material.short[str(last.idxmin())]} ends at the lowest loss, {last.min():.3g}"
