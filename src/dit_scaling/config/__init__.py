"""The one typed definition of a study, the schema made from it, and the settings each stage depends on."""

from dit_scaling.config.load import load_study, parse_study
from dit_scaling.config.stages import Stages
from dit_scaling.config.study import Study

__all__ = ["Stages", "Study", "load_study", "parse_study"]
