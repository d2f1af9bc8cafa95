"""Laws in words: tables of Markdown that docs/scaling-laws.md shows, and sentences."""

from collections.abc import Iterator, Sequence

import pandas as pd

from dit_scaling.laws.additive import AdditiveLaw
from dit_scaling.laws.backtest import Prediction, summarise, tabulate
from dit_scaling.laws.frontier import LEVEL, Frontier, Interval
from dit_scaling.laws.single_laws import SingleLaw
from dit_scaling.laws.study_laws import StudyLaws

PUBLISHED = (
    "For text-to-image transformers, another task, published exponents are N ~ C^0.568, D ~ C^0.432, loss ~ C^-0.0273 "
    "and FID ~ C^-0.234 (arXiv 2410.08184)."
)
UNIDENTIFIED = "not identified by these data"


def describe_laws(laws: StudyLaws) -> str:
    """The laws of a study."""
    head = f"Laws of {laws.metric}. Intervals: {LEVEL:.0%}."
    return "\n".join([head, "", *_frontier(laws), "", *_additive(laws.additive), "", *_single(laws.single)])


def describe_backtest(predictions: Sequence[Prediction]) -> str:
    """All predictions, and a summary per test."""
    rows = tabulate(predictions)
    shown = pd.DataFrame(
        {
            "target": rows["target"],
            "fitted": rows["fitted"],
            "form": rows["form"],
            "predicted": [_span(p.predicted) for p in predictions],
            "measured": rows["measured"].map("{:.4g}".format),
            "error": rows["error"].map("{:+.1%}".format),
            "covered": rows["covered"].map({True: "yes", False: "no"}),
        }
    )
    summary = summarise(predictions)
    for column in ("median error", "largest error", "covered"):
        summary[column] = summary[column].map("{:.1%}".format)
    return f"{markdown(summary)}\n\n{markdown(shown)}"


def markdown(table: pd.DataFrame) -> str:
    """A table of Markdown."""
    cells = [list(map(str, row)) for row in table.to_numpy().tolist()]
    rows = [list(map(str, table.columns)), ["---"] * len(table.columns), *cells]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _frontier(laws: StudyLaws) -> Iterator[str]:
    frontier = laws.frontier
    if not isinstance(frontier, Frontier):
        yield f"No frontier: {frontier}"
        return
    minima = [
        {"FLOPs": f"{m.flops:.3g}", "sizes": m.sizes, "best size": f"{m.params:.4g}", "value": f"{m.loss:.4g}"}
        for m in frontier.minima
    ]
    yield markdown(pd.DataFrame(minima))
    yield ""
    pooled = "pooled over sizes" if frontier.pooled else "each size by its own seeds, as they scatter differently"
    yield (
        f"Best size ~ C^{_span(frontier.size_exponent)}, value ~ C^-{_span(frontier.loss_exponent)}; one run scatters "
        f"by {frontier.run_sd:.2%} ({pooled}). Budgets share runs, so their minima are correlated. {PUBLISHED}"
    )
    for forward in laws.forward:
        measured, beyond = forward.measured, forward.measured.flops / frontier.largest
        outside = "" if measured.interior else " (outside the sizes measured)"
        size, loss = (forward.size.value / measured.params - 1, forward.loss.value / measured.loss - 1)
        yield (
            f"At {measured.flops:.3g} FLOPs, {beyond:.2g} times the largest fitted: size {_span(forward.size)}, "
            f"measured {measured.params:.4g}{outside} ({size:+.1%}); value {_span(forward.loss)}, measured "
            f"{measured.loss:.4g} ({loss:+.1%})."
        )


def _additive(law: AdditiveLaw | str) -> Iterator[str]:
    if not isinstance(law, AdditiveLaw):
        yield f"No additive law: {law}"
        return
    yield f"Additive law E + A N^-a + B D^-b: residual {law.law.residual:.2%} (root mean square of ln value)."
    for parameter in law.parameters:
        yield f"- {parameter.name}: {_span(parameter.interval) if parameter.interval else UNIDENTIFIED}"
    yield f"- best size ~ C^(b / (a + b)) = C^{_span(law.size_exponent)}"


def _single(laws: tuple[SingleLaw, ...] | str) -> Iterator[str]:
    if isinstance(laws, str):
        yield f"No laws of one quantity: {laws}"
        return
    for law in laws:
        floor = f"floor {_span(law.floor)}" if law.floor else f"a floor is {UNIDENTIFIED}"
        yield (
            f"In {law.quantity} ({law.points} points): value ~ x^-{_span(law.exponent)}, residual {law.residual:.2%}; "
            f"{floor}."
        )


def _span(interval: Interval) -> str:
    return f"{interval.value:.3g} [{interval.low:.3g}, {interval.high:.3g}]"
