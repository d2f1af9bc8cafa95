"""Config section ``laws``: budgets of training compute, and which variants are compared at each."""

from typing import Annotated, Literal

from pydantic import Field

from dit_scaling.common.section import PositiveFloat, Section
from dit_scaling.variants import VariantName

FLOPS_PER_GFLOP = 6e9
"""Training FLOPs of an image and one Gflop (1e9 multiply-adds) of a forward pass: three passes, two operations each."""

Role = Literal["fit", "predict"]


class Budget(Section):
    """Variants that are trained with one amount of compute."""

    flops: PositiveFloat
    """Training FLOPs of each: 6 x Gflops x 1e9 x batch size x steps. A multiply-add is two."""
    variants: Annotated[tuple[VariantName, ...], Field(min_length=1)]
    """The window of the budget's parabola, fixed before anything is measured."""
    role: Role = "fit"
    """Whether laws are fitted to the budget, or predict it from the others."""


class Laws(Section):
    """A study for scaling laws: one run per variant and seed, measured at the steps of all of its budgets."""

    budgets: Annotated[tuple[Budget, ...], Field(min_length=1)]

    def steps(self, variant: str, gflops: float, batch_size: int) -> dict[int, Budget]:
        """The steps at which a variant has spent each of its budgets, ascending."""
        per_step = FLOPS_PER_GFLOP * gflops * batch_size
        found = {
            max(1, round(budget.flops / per_step)): budget for budget in self.budgets if variant in budget.variants
        }
        return dict(sorted(found.items()))
