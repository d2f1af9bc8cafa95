"""What the published field says of the claims, in words."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy import stats

from dit_scaling.common.errors import UserError
from dit_scaling.laws.field_law import FEWEST, LEVEL, fit_family, fit_field
from dit_scaling.paper.field import at_equal_steps, families
from dit_scaling.paper.published import reproduction_spread

ALL = "all"


def describe_published(name: str) -> str:
    """What is known of a family, or of ``all`` together.

    Raises:
        UserError: there is no such family.
    """
    table = families()
    known = list(dict.fromkeys(table["family"]))
    if name == ALL:
        return "\n".join([*(line for family in known for line in _family(family, table)), "", *_field()])
    found = [family for family in known if family.lower() == name.lower()]
    if not found:
        raise UserError(f"--published {name}: choose {ALL} or one of {', '.join(known)}.")
    return "\n".join(_family(found[0], table))


def _family(name: str, table: pd.DataFrame) -> Iterator[str]:
    rows = table[table["family"] == name]
    marks = ", ".join(f"{count} {mark}" for mark, count in rows["mark"].value_counts().items())
    yield f"{name}: {len(rows)} models, {', '.join(dict.fromkeys(rows['source']))} ({marks})."
    equal = at_equal_steps()
    equal = equal[equal["family"] == name]
    if len(equal) < 2:
        yield "  Not testable: no two models of one number of steps, resolution and guidance."
        return
    by = "gflops" if equal["gflops"].notna().all() else "params_m"
    if equal[by].isna().any():
        yield f"  Larger against smaller, in the source's order: {_pairs(equal)}"
        yield "  Gflops: not testable, as no source of them was found."
        return
    measure = "Gflops" if by == "gflops" else "parameters"
    yield f"  Larger against smaller, by {measure}: {_pairs(equal.sort_values(by))}"
    fit = fit_family(equal)
    if fit is None:
        yield f"  Gflops: not testable, as fewer than {FEWEST} models have known ones."
        return
    reach = float(stats.t.isf((1 - LEVEL) / 2, fit.n - 2)) * fit.b_error
    yield (
        f"  FID ~ Gflops^{fit.b:.3f} [{fit.b - reach:.3f}, {fit.b + reach:.3f}] ({LEVEL:.0%}), R^2 "
        f"{fit.r_squared or 0:.3f} over {fit.n} models."
    )


def _pairs(rows: pd.DataFrame) -> str:
    """Each model against the one before it: one run each, so that the scatter of reproductions is assumed."""
    spread = reproduction_spread()
    found = []
    for (_, smaller), (_, larger) in pairwise(rows.iterrows()):
        difference = float(np.log(larger["fid50k"] / smaller["fid50k"]))
        p = float(stats.t.cdf(difference / (spread.sd * np.sqrt(2)), spread.df))
        found.append(
            f"{larger['model']} {larger['fid50k']:g} under {smaller['model']} {smaller['fid50k']:g} (p = {p:.2g})"
        )
    return "; ".join(found) + f". One-sided, if runs scatter as reproductions do ({spread.sd:.1%}, {spread.df} df)."


def _field() -> Iterator[str]:
    law = fit_field(at_equal_steps())
    yield (
        f"Across families at 400K steps of batch 256, without guidance: {law.models} models of "
        f"{', '.join(law.families)}. One line ln FID on ln Gflops: FID ~ Gflops^{law.exponent:.3f}, R^2 "
        f"{law.r_squared:.3f}; models lie {law.residual:.0%} about it, reproductions of one model {law.spread:.1%}."
    )
    verdict = "does not explain FID across architectures" if law.p_offsets < 1 - LEVEL else "is not shown to fall short"
    slopes = "differ" if law.p_slopes < 1 - LEVEL else "are not told apart"
    yield (
        f"Gflops alone {verdict}: with an offset for each family R^2 is {law.r_squared_offsets:.3f} (F test, p = "
        f"{law.p_offsets:.2g}). Slopes {slopes} (p = {law.p_slopes:.2g})."
    )
    told = ", ".join(f"{o.family} {o.ratio:.2f} [{o.low:.2f}, {o.high:.2f}]" for o in law.offsets)
    yield f"FID over DiT's at equal Gflops ({LEVEL:.0%}): {told}."
