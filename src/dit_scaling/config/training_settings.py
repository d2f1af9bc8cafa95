"""Config section ``training``: which runs there are, how long they last, and the recipe that all of them share."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from dit_scaling.common.section import Before, Seed, Step
from dit_scaling.config.recipe import Recipe
from dit_scaling.diffusion.process import PAPER_OBJECTIVE, FlowTimes, ObjectiveName

# YAML reads a bare `off` as false.
Gates = Annotated[
    Literal["stop", "warn", "off"],
    BeforeValidator(lambda value: "off" if value is False else value),
    WithJsonSchema({"enum": ["stop", "warn", "off", False]}),
]
LoggerName = Literal["tensorboard", "wandb"]


class Training(Recipe):
    """One training job per variant and seed; the defaults are the paper's (section 4)."""

    objective: Annotated[ObjectiveName, Before(PAPER_OBJECTIVE)] = PAPER_OBJECTIVE
    """What networks learn: ddpm, the noise and the variance of section ``diffusion`` (the paper), or flow, the velocity
    of SiT's linear path. A variant can name another: DiT@flow-XL/2 beside DiT-XL/2."""
    flow_times: Annotated[FlowTimes, Before("uniform")] = "uniform"
    """How objective flow draws its times."""
    steps: Step
    """Optimiser steps of a full run."""
    milestones: tuple[Step, ...] = ()
    """Earlier steps at which weights are exported, sampled and scored; the last step always is."""
    gates: Gates = "warn"
    """At every export each run is judged: on track, undertrained or broken. ``stop`` trains a broken run no further."""
    gate_steps: tuple[Step, ...] = ()
    """Further, early steps at which runs are judged, but not sampled and scored."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0,)
    """One run per variant and seed. Several seeds make the verdicts' uncertainty one of training runs."""
    loggers: Annotated[tuple[LoggerName, ...], Before(())] = ()
    """What training is also logged to, with the extras of that name installed; nothing here changes a result. One that
    fails, hangs or has no network is left behind, and training goes on."""

    @property
    def recipe(self) -> Recipe:
        """What of it a step needs to know."""
        return Recipe(**{name: getattr(self, name) for name in Recipe.model_fields})

    @property
    def exports(self) -> tuple[int, ...]:
        """Every step at which weights are exported, ascending."""
        return tuple(sorted({*self.milestones, self.steps}))

    @property
    def stops(self) -> tuple[int, ...]:
        """Every step at which a training job ends, ascending: the exports and the gates between them."""
        early = () if self.gates == "off" else self.gate_steps
        return tuple(sorted({*self.exports, *early}))
