"""What the published field says of the claims, in words."""

from collections.abc import Iterator

from dit_scaling.common.words import count
from dit_scaling.laws.field_families import ALL, Family, find_families
from dit_scaling.laws.field_law import FEWEST, LEVEL, fit_field
from dit_scaling.paper.field import at_equal_steps
from dit_scaling.paper.published import reproduction_spread


def describe_published(name: str) -> str:
    """What is known of a family, or of ``all`` together.

    Raises:
        UserError: there is no such family.
    """
    lines = [line for family in find_families(name) for line in _family(family)]
    return "\n".join([*lines, "", *_field()] if name == ALL else lines)


def _family(family: Family) -> Iterator[str]:
    marks = ", ".join(f"{count} {mark}" for mark, count in family.marks.items())
    yield f"{family.name}: {count(family.models, 'model')}, {', '.join(family.sources)} ({marks})."
    if family.order is None:
        yield "  Not testable: no two models of one number of steps, resolution and guidance."
        return
    order = f"in {family.order}" if family.order == "the source's order" else f"by {family.order}"
    yield f"  Larger against smaller, {order}: {_larger(family)}"
    if family.order == "the source's order":
        yield "  Gflops: not testable, as no source of them was found."
    elif family.law is None:
        yield f"  Gflops: not testable, as fewer than {FEWEST} models have known ones."
    else:
        law = family.law
        yield (
            f"  FID ~ Gflops^{law.exponent:.3f} [{law.low:.3f}, {law.high:.3f}] ({LEVEL:.0%}), R^2 "
            f"{law.r_squared:.3f} over {law.models} models."
        )


def _larger(family: Family) -> str:
    spread = reproduction_spread()
    found = [f"{p.model} {p.fid50k:g} under {p.smaller} {p.smaller_fid50k:g} (p = {p.p:.2g})" for p in family.larger]
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
