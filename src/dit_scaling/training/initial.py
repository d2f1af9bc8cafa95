"""The network that a training run starts with."""

import torch

from dit_scaling.config.stages import TrainSettings
from dit_scaling.models import DiT, Network, create_model
from dit_scaling.models.mup import scale_initialisation
from dit_scaling.training.batches import seed_for


def initial_model(settings: TrainSettings) -> Network:
    """The untrained network of ``settings``, on the CPU: the same for every run with the same seed."""
    torch.manual_seed(seed_for("init", settings.seed))
    model = create_model(settings.variant, settings.input_size, settings.num_classes, settings.in_channels)
    if settings.recipe.parametrisation == "mup" and isinstance(model, DiT):
        scale_initialisation(model, settings.recipe.mup_base_width)
    return model
