"""The one way from settings to what networks learn to reverse. Configs read the settings, which need no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Self, overload

from pydantic import model_validator

from dit_scaling.common.registry import NameIn
from dit_scaling.common.section import Before, Count, Section
from dit_scaling.diffusion.samplers import SAMPLERS
from dit_scaling.diffusion.schedule import PAPER_SCHEDULE, SCHEDULES

if TYPE_CHECKING:
    from dit_scaling.diffusion.base import Process
    from dit_scaling.diffusion.flow import FlowMatching
    from dit_scaling.diffusion.gaussian import GaussianDiffusion

PredictionType = Literal["epsilon", "v_prediction"]
FlowTimes = Literal["uniform", "logit-normal"]


class DiffusionSettings(Section):
    """The process that networks of objective ddpm learn to reverse; the defaults are the paper's."""

    objective: ClassVar[str] = "ddpm"
    variance: ClassVar[str] = "learned_range"
    """What the second half of a network's channels is: the log variance's place between its bounds."""

    schedule: Annotated[str, NameIn(SCHEDULES)] = PAPER_SCHEDULE
    """How the noise grows over the timesteps: linear (the paper's), cosine (Nichol and Dhariwal 2021), or zero-snr,
    which ends in noise alone (Lin et al. 2023) and needs prediction: v_prediction."""
    num_timesteps: Count = 1000
    """T, the number of noising steps."""
    prediction: Annotated[PredictionType, Before("epsilon")] = "epsilon"
    """What the first half of a network's channels is, in diffusers' words: the noise, or v = signal noise - noise x_0
    (Salimans and Ho 2022)."""

    @property
    def sampled_timesteps(self) -> int:
        """How many timesteps samplers may visit, counted from the least noisy one."""
        return SCHEDULES[self.schedule].sampled(self.num_timesteps)

    @model_validator(mode="after")
    def _check(self) -> Self:
        row = SCHEDULES[self.schedule]
        if self.num_timesteps < row.fewest:
            raise ValueError(
                f"diffusion.num_timesteps: {self.num_timesteps} are too few for schedule {self.schedule}, which needs "
                f"{row.fewest}"
            )
        if row.ends_in_noise and self.prediction == "epsilon":
            raise ValueError(
                f"diffusion.prediction: epsilon tells nothing of the image at the last timestep of schedule "
                f"{self.schedule}, where nothing is left of it, and sampling could not start; set v_prediction"
            )
        return self


class FlowSettings(Section):
    """The process of objective flow: the linear path of SiT."""

    objective: Literal["flow"]
    times: FlowTimes = "uniform"
    """How times are drawn in training."""


AnyProcess = DiffusionSettings | FlowSettings
PAPER_PROCESS: Final = DiffusionSettings()


@dataclass(frozen=True)
class Objective:
    """What networks are trained for, and what config, checks and report have to know of it."""

    name: str
    label: str
    """In the protocol table."""
    target: str
    """What the first half of a network's channels is, for people."""
    note: str
    """Whose it is."""
    build: Callable[[Any], Process]
    """From settings of this objective; imports torch."""

    @property
    def samplers(self) -> tuple[str, ...]:
        """The samplers that can be used."""
        return tuple(name for name, sampler in SAMPLERS.items() if sampler.objective == self.name)

    @property
    def samplers_named(self) -> str:
        """They in a sentence."""
        *others, last = self.samplers
        return f"{', '.join(others)} or {last}" if others else last


def _gaussian(settings: DiffusionSettings) -> Process:
    from dit_scaling.diffusion.gaussian import GaussianDiffusion

    return GaussianDiffusion(settings, SCHEDULES[settings.schedule].betas(settings.num_timesteps))


def _flow(settings: FlowSettings) -> Process:
    from dit_scaling.diffusion.flow import FlowMatching

    return FlowMatching(settings)


PAPER_OBJECTIVE: Final = "ddpm"

OBJECTIVES: dict[str, Objective] = {
    row.name: row
    for row in (
        Objective("ddpm", "noise and variance (DDPM, hybrid loss)", "noise", "the paper's", _gaussian),
        Objective("flow", "velocity of the linear path (flow matching)", "velocity", "SiT's, arXiv 2401.08740", _flow),
    )
}
"""Every objective that a study can name (config key ``training.objective``)."""

ObjectiveName = Annotated[str, NameIn(OBJECTIVES)]


@overload
def create_diffusion(settings: DiffusionSettings) -> GaussianDiffusion: ...
@overload
def create_diffusion(settings: FlowSettings) -> FlowMatching: ...
@overload
def create_diffusion(settings: AnyProcess) -> Process: ...
def create_diffusion(settings: AnyProcess) -> Process:
    """The process of these settings; a job builds it once and passes it down."""
    return OBJECTIVES[settings.objective].build(settings)
