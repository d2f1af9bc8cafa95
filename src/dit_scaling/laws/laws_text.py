"""Laws in words: tables of Markdown that docs/scaling-laws.md shows, and sentences."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from dit_scaling.common.words import count
from dit_scaling.laws.additive import AdditiveLaw
from dit_scaling.laws.backtest import Prediction, summarise, tabulate
from dit_scaling.laws.frontier import LEVEL, Frontier, Interval, Minimum
from dit_scaling.laws.run_grid import Grid
from dit_scaling.laws.single_laws import SingleLaw
from dit_scaling.laws.study_laws import Forward, StudyLaws, summarise_cells

PUBLISHED = (
    "For text-to-image transformers, another task, published exponents are N ~ C^0.568, D ~ C^0.432, loss ~ C^-0.0273 "
    "and FID ~ C^-0.234 (arXiv 2410.08184)."
)
UNIDENTIFIED = "not identified by these data"
OUTSIDE = "no minimum inside the sizes measured"


def describe_laws(laws: StudyLaws) -> str:
    """The laws of a study."""
    head = f"Laws of {laws.metric}. Intervals: {LEVEL:.0%}. {laws.series.told}".rstrip()
    measured = [] if isinstance(laws.budgets, str) else [*_measured(laws.budgets), ""]
    return "\n".join([head, "", *measured, *_frontier(laws), "", *_additive(laws), "", *_single(laws.single)])


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


def _measured(grid: Grid) -> Iterator[str]:
    rows = []
    for budget, flops in enumerate(grid.stops):
        values = np.exp(grid.means[:, budget])
        told = ["" if np.isnan(value) else f"{value:.4g}" for value in values]
        rows.append({"FLOPs": f"{flops:.3g}", **dict(zip(grid.names, told, strict=True))})
    fewest, most = int(grid.seeds.min()), int(grid.seeds.max())
    seeds = count(most, "seed") if fewest == most else f"{fewest} to {most} seeds"
    yield f"Measured, mean over {seeds} of each size, at the budgets that are fitted:"
    yield ""
    yield markdown(pd.DataFrame(rows))


def _frontier(laws: StudyLaws) -> Iterator[str]:
    frontier = laws.frontier
    if laws.minima:
        yield markdown(pd.DataFrame([_minimum(minimum) for minimum in laws.minima]))
        yield ""
    if not isinstance(frontier, Frontier):
        yield f"No frontier: {frontier}"
        return
    pooled = "pooled over sizes" if frontier.pooled else "each size by its own seeds, as they scatter differently"
    images = f", training images ~ C^{_known(laws.images_exponent)}" if laws.images_exponent else ""
    size, loss = frontier.size_exponent, frontier.loss_exponent
    halves = ""
    if size.identified and loss.identified:
        halves = (
            f" Half of these intervals: {_half(size):.3f} for the size and {_half(loss) / loss.value:.1%} of the "
            "exponent for the value."
        )
    yield (
        f"Best size ~ C^{_known(size)}, value ~ C^-{_known(loss)}{images}.{halves} One run scatters by "
        f"{frontier.run_sd:.2%} ({pooled}). Budgets share runs, so their minima are correlated. {PUBLISHED}"
    )
    for forward in laws.forward:
        yield _told_forward(forward, frontier.largest)


def _minimum(minimum: Minimum) -> dict[str, str | int]:
    """A row: a vertex that is not inside the sizes measured has no numbers."""
    size, value = (f"{minimum.params:.4g}", f"{minimum.loss:.4g}") if minimum.interior else (OUTSIDE, "")
    return {"FLOPs": f"{minimum.flops:.3g}", "sizes": minimum.sizes, "best size": size, "value": value}


def _told_forward(forward: Forward, largest: float) -> str:
    measured = forward.measured
    head = f"At {measured.flops:.3g} FLOPs, {measured.flops / largest:.2g} times the largest fitted:"
    if not measured.interior:
        return f"{head} size {_span(forward.size)}, value {_span(forward.loss, 4)}; measured: {OUTSIDE}."
    told = [
        f"{what} {_span(predicted, 4)}, measured {found:.4g} ({predicted.value / found - 1:+.1%}, "
        f"{'inside' if predicted.low <= found <= predicted.high else 'outside'} the interval)"
        for what, predicted, found in (
            ("size", forward.size, measured.params),
            ("value", forward.loss, measured.loss),
        )
    ]
    return f"{head} {'; '.join(told)}."


def _additive(laws: StudyLaws) -> Iterator[str]:
    law = laws.additive
    if not isinstance(law, AdditiveLaw):
        yield f"No additive law: {law}"
        return
    yield f"Additive law E + A N^-a + B D^-b: residual {law.law.residual:.2%} (root mean square of ln value)."
    for parameter in law.parameters:
        yield f"- {parameter.name}: {_span(parameter.interval) if parameter.interval else UNIDENTIFIED}"
    yield f"- best size ~ C^(b / (a + b)) = C^{_known(law.size_exponent)}"
    if not laws.cells:
        return
    rows = [
        {
            "FLOPs": f"{cell.flops:.3g}",
            "size": cell.variant,
            "predicted": _span(cell.predicted, 4),
            "measured": f"{cell.measured:.4g}",
            "error": f"{cell.error:+.1%}",
            "covered": "yes" if cell.covered else "no",
        }
        for cell in laws.cells
    ]
    yield from ("", "The additive law at budgets that were not fitted:", "", markdown(pd.DataFrame(rows)), "")
    for told in summarise_cells(laws.cells):
        yield (
            f"At {told.flops:.3g} FLOPs: error {told.mean:+.2%} (mean), {told.rms:.2%} (root mean square); "
            f"{told.covered} of {told.sizes} sizes covered."
        )


def _single(laws: tuple[SingleLaw, ...] | str) -> Iterator[str]:
    if isinstance(laws, str):
        yield f"No laws of one quantity: {laws}"
        return
    for law in laws:
        floor = f"floor {_span(law.floor)}" if law.floor else f"a floor is {UNIDENTIFIED}"
        yield (
            f"In {law.quantity} ({law.points} points): value ~ x^-{_known(law.exponent)}, residual {law.residual:.2%}; "
            f"{floor}."
        )


def _half(interval: Interval) -> float:
    return (interval.high - interval.low) / 2


def _known(exponent: Interval) -> str:
    return _span(exponent) if exponent.identified else f"({UNIDENTIFIED})"


def _span(interval: Interval, digits: int = 3) -> str:
    return f"{interval.value:.{digits}g} [{interval.low:.{digits}g}, {interval.high:.{digits}g}]"
