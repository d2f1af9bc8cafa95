"""One evaluation of a study: which weights, and how they are sampled."""

from typing import Annotated

from dit_scaling.common.section import Before, Count, Section


class Evaluation(Section):
    """Which weights, sampled how, a record of metrics belongs to."""

    variant: str
    seed: int
    step: Count
    sampler: str
    guidance_scale: float
    further_steps: Annotated[Count | None, Before(None)] = None
    """Steps of the sampler where they are further ones, on which no verdict rests; None for the study's own."""
