"""The one way from settings to the diffusion process. Configs read the settings, which need no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Self

from pydantic import model_validator

from dit_scaling.common.registry import NameIn
from dit_scaling.common.section import Count, Section
from dit_scaling.diffusion.schedule import PAPER_SCHEDULE, SCHEDULES

if TYPE_CHECKING:
    from dit_scaling.diffusion.gaussian import GaussianDiffusion


class DiffusionSettings(Section):
    """The process that networks learn to reverse; the defaults are the paper's."""

    prediction: ClassVar[str] = "epsilon"
    """What the first half of a network's channels is, in diffusers' word: the noise."""
    variance: ClassVar[str] = "learned_range"
    """What the second half is: the log variance's place between its bounds."""

    schedule: Annotated[str, NameIn(SCHEDULES)] = PAPER_SCHEDULE
    """How the noise grows over the timesteps: linear (the paper's) or cosine (Nichol and Dhariwal 2021)."""
    num_timesteps: Count = 1000
    """T, the number of noising steps."""

    @property
    def sampled_timesteps(self) -> int:
        """How many timesteps samplers may visit, counted from the least noisy one."""
        return SCHEDULES[self.schedule].sampled(self.num_timesteps)

    @model_validator(mode="after")
    def _check(self) -> Self:
        fewest = SCHEDULES[self.schedule].fewest
        if self.num_timesteps < fewest:
            raise ValueError(
                f"diffusion.num_timesteps: {self.num_timesteps} are too few for schedule {self.schedule}, which needs "
                f"{fewest}"
            )
        return self


PAPER_PROCESS: Final = DiffusionSettings()


def create_diffusion(settings: DiffusionSettings) -> GaussianDiffusion:
    """The process of these settings; a job builds it once and passes it down."""
    from dit_scaling.diffusion.gaussian import GaussianDiffusion

    return GaussianDiffusion(settings, SCHEDULES[settings.schedule].betas(settings.num_timesteps))
