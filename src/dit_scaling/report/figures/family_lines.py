"""A line per family against Gflops: what the claims between families are about."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from dit_scaling.charts.panel import Line, Panel, name_margin
from dit_scaling.charts.scales import log_scale
from dit_scaling.claims.fits import PowerLawFit
from dit_scaling.report.figures.axes import distance_scale, distance_title, mark_points, units_of
from dit_scaling.report.figures.material import Drawn, Material, best_of, tabulate
from dit_scaling.report.measurements import fit_points
from dit_scaling.report.numbers import describe_distance, describe_percent
from dit_scaling.report.style import HUES, brief_families, order_variants
from dit_scaling.variants import family_of


def draw_families(material: Material) -> Drawn:
    """The distance against Gflops, colour, marker and line by family; no panel for a study of one family.

    A line is the power law of `fit_points`, or goes from point to point where a family has none.
    """
    measured = material.measured
    points = order_variants(measured.final)
    families = points["variant"].map(family_of)
    data = tabulate(measured, "gflops", points=points)
    if families.nunique() == 1:
        return Drawn(f"All variants are of one family, {families.iloc[0]}.", "", (), data)
    named = brief_families(families)
    members = {named[str(family)]: rows.sort_values("gflops") for family, rows in points.groupby(families, sort=False)}
    laws = {family: law for family, rows in members.items() if (law := fit_points(rows, "gflops"))}
    heights = {
        family: laws[family].predict(rows["gflops"])["y"] if family in laws else rows["value"]
        for family, rows in members.items()
    }
    unit, _ = units_of(points)
    factor = 1e9 / unit.size
    panel = Panel(
        said=f"{distance_title(measured)} against Gflops by family; arrow keys go from point to point",
        x=log_scale(factor * points["gflops"]),
        y=distance_scale(points, pd.concat(heights.values())),
        x_title=f"{unit.word} multiply-adds of one forward pass".strip().capitalize(),
        y_title=distance_title(measured),
        right=name_margin(members),
        names_in_margin=True,
    )
    for number, (family, rows) in enumerate(members.items()):
        hue = f"c{number % HUES}"
        places = zip(rows["variant"], factor * rows["gflops"], heights[family], strict=True)
        panel.add_line(Line(tuple(places), hue, family, kind="law" if family in laws else "ln"))
        marks = mark_points(material, rows, "gflops", factor, labels=False)
        panel.add_points([replace(mark, hue=hue, shape=number, seeds=()) for mark in marks])
    return Drawn(
        finding=_describe(points, laws, material.short),
        text="Whole lines from point to point; thin lines: power laws of three or more variants that are evidence. "
        "Bars: 95% intervals. Whether a gap is beyond noise is for a claim between families to say.",
        panels=(panel,),
        data=data,
    )


def _describe(points: pd.DataFrame, laws: Mapping[str, PowerLawFit], short: Mapping[str, str]) -> str:
    """Whose law lies lowest at both ends of the Gflops that all laws share; without laws to compare, the best."""
    best = best_of(points)
    lowest = f"{short[best['variant']]} has the lowest distance, {describe_distance(best['value'])}"
    if len(laws) < 2:
        return lowest
    ends = np.array([max(law.x_min for law in laws.values()), min(law.x_max for law in laws.values())])
    if ends[0] >= ends[1]:
        return f"No Gflops are in reach of all families’ laws; {lowest}"
    at_ends = pd.DataFrame({family: law.predict(ends)["y"] for family, law in laws.items()})
    low, high = at_ends.idxmin(axis=1)
    if low != high:
        return f"Which family’s law lies lowest changes with Gflops: {low} at the least, {high} at the most"
    gaps = [float(row.drop(low).min() / row[low] - 1) for _, row in at_ends.iterrows()]
    how = " to ".join(dict.fromkeys(describe_percent(gap) for gap in sorted(gaps)))
    return f"At equal Gflops the law of {low} lies lowest, the next one {how} above it"
