"""The study's models among the published field: families of models at the steps that most were published at."""

import numpy as np
import pandas as pd

from dit_scaling.charts.panel import Line, Panel, name_margin
from dit_scaling.charts.scales import choose_unit, log_scale
from dit_scaling.claims.fits import PowerLawFit, fit_power_law
from dit_scaling.common.words import number_word
from dit_scaling.paper.field import EQUAL_BATCH, EQUAL_STEPS, at_equal_steps
from dit_scaling.report.figures.axes import distance_scale, mark_points, series_lines
from dit_scaling.report.figures.material import Drawn, Material
from dit_scaling.report.figures.scaling import mark_others, published_beside
from dit_scaling.report.measurements import Measurements
from dit_scaling.report.numbers import describe_percent
from dit_scaling.report.style import order_variants

LABEL = "FID-50K"


def draw_field(material: Material) -> Drawn:
    """FID-50K against Gflops of the published families, a line each, and of the study's own variants.

    No panel but for a study that has trained for as long, on as many images, and is measured in the same way.
    """
    field = at_equal_steps().dropna(subset="gflops").rename(columns={"model": "variant", "fid50k": "value"})
    ours = comparable_points(material.measured)
    kept = ["source", "family", "variant", "gflops", "value", "low", "high", "mark"]
    data = pd.concat([field, ours.assign(source="this study")], ignore_index=True).reindex(columns=kept)
    if ours.empty:
        said = f"Published families stand beside {LABEL} at step {EQUAL_STEPS:,} of batch {EQUAL_BATCH}, unguided."
        return Drawn(said, "", (), data)
    unit = choose_unit(list(1e9 * data["gflops"]))
    factor = 1e9 / unit.size
    families = {str(family): rows.sort_values("gflops") for family, rows in field.groupby("family", sort=False)}
    panel = Panel(
        said=f"{LABEL} against Gflops, of published families and of this study; arrow keys go from point to point",
        x=log_scale(factor * data["gflops"]),
        y=distance_scale(ours, list(field["value"])),
        x_title=f"{unit.word} multiply-adds of one forward pass".strip().capitalize(),
        y_title=LABEL,
        right=name_margin((*families, *map(str, ours["series"]))),
        names_in_margin=True,
    )
    for family, rows in families.items():
        places = zip(rows["variant"], factor * rows["gflops"], rows["value"], strict=True)
        panel.add_line(Line(tuple((f"published {name}", x, y) for name, x, y in places), "other", family))
    for line in series_lines(material, ours, "gflops", factor):
        panel.add_line(line)
    panel.add_points(mark_others(field, "gflops", factor, "published "))
    panel.add_points(mark_points(material, ours, "gflops", factor, labels=False))
    return Drawn(
        finding=_describe(ours, fit_power_law(field["gflops"], field["value"])),
        text=f"Grey: published families at {EQUAL_STEPS:,} steps of batch {EQUAL_BATCH} on ImageNet at 256 × 256, "
        "unguided, one run each; the CSV has sources. Distances compare only where the study’s images are those too.",
        panels=(panel,),
        data=data,
    )


def comparable_points(measured: Measurements) -> pd.DataFrame:
    """The study's points that may stand among the published ones: at their steps and batch, by the same measure."""
    rows = measured.rows
    same = (
        not published_beside(measured).empty
        and measured.label == LABEL
        and measured.guidance_scale == 1
        and "images_seen" in rows.columns
        and bool((rows["images_seen"] == EQUAL_BATCH * rows["step"]).all())
    )
    points = measured.points[measured.points["step"] == EQUAL_STEPS] if same else measured.points.iloc[:0]
    return order_variants(points)


def _describe(ours: pd.DataFrame, law: PowerLawFit) -> str:
    """How the study's models lie to one line through all published ones, over the Gflops that these have."""
    inside = ours[(ours["gflops"] >= law.x_min) & (ours["gflops"] <= law.x_max)]
    if inside.empty:
        return "This study’s models are smaller or larger than all published ones"
    away = float(np.log(inside["value"].to_numpy() / law.predict(inside["gflops"])["y"].to_numpy()).mean())
    side = "above" if away > 0 else "below"
    models = "This study’s model lies" if len(inside) == 1 else f"This study’s {number_word(len(inside))} models lie"
    return (
        f"{models} {describe_percent(float(np.expm1(away)))} {side} one line through the published field, "
        f"about which single models scatter by {describe_percent(law.residual_sd)}"
    )
