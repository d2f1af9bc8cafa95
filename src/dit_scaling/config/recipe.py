"""Everything about one step of training: the optimiser, the batch, the average of the weights, the arithmetic."""

from typing import Annotated, Literal

from pydantic import Field

from dit_scaling.common.section import Before, Count, Fraction, PositiveFloat, Section

Beta = Annotated[float, Field(ge=0, lt=1)]
Precision = Literal["float32", "tf32", "bfloat16"]


class Recipe(Section):
    """How a step trains; the defaults are the paper's (section 4). A new option is a field here, and nowhere else."""

    batch_size: Count = 256
    learning_rate: PositiveFloat = 1.0e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps of linear warm-up to the constant learning rate; the paper has none."""
    gradient_clip: PositiveFloat | None = None
    """Largest gradient norm; the paper does not clip."""
    ema_decay: Fraction = 0.9999
    ema_ramp: bool = False
    """Use min(ema_decay, (1 + step) / (10 + step)), so that short runs forget their start."""
    parametrisation: Annotated[Literal["standard", "mup"], Before("standard")] = "standard"
    """mup scales initial weights and learning rates by hidden_size / mup_base_width (arXiv 2505.15270), so that the
    best rate of a narrow DiT is that of a wide one; at the base width it is the paper's."""
    mup_base_width: Annotated[Count, Before(384)] = 384
    """The hidden size at which ``learning_rate`` is meant."""
    class_dropout_prob: Fraction = 0.1
    horizontal_flip: bool = True
    """Draw the image or its mirror with equal chance. Off for images that a mirror makes another class."""
    shuffle_shards: Count | None = None
    """Shards that samples are shuffled among at a time, for latents that do not fit memory; all of them where null."""
    precision: Precision = "float32"
    """Arithmetic of forward and backward: float32, the same with TF32 products and convolutions on GPUs, or bfloat16.
    Weights, optimiser and EMA are float32 always."""
    compile: bool = False
    """Compile the network (torch.compile) where there is a C++ compiler; half a minute a job before it pays."""
