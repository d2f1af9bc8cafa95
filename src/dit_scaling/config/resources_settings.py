"""Config sections ``resources`` and ``keep``: how much machine the jobs get, and what stays on disk."""

from typing import Annotated, Literal

from pydantic import Field

from dit_scaling.common.section import Before, Count, PositiveFloat, Section


class TrainingResources(Section):
    """How a training job runs."""

    micro_batch: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    """Samples whose activations a rank holds in memory at a time (gradient accumulation); 0: its share of the batch.
    ``auto``: for each variant the largest equal parts of it that fit the GPU, by the formula of `dit-scaling plan`; the
    whole share without a GPU."""
    jobs_per_gpu: Annotated[Count, Before(1)] = 1
    """Jobs that may compute on one GPU at a time; small studies are faster with several."""
    save_minutes: PositiveFloat = 10.0
    """Training state is saved this often,"""
    save_steps: Count = 10_000
    """and every so many steps."""
    log_seconds: PositiveFloat = 10.0


class Resources(TrainingResources):
    """How much machine the jobs get. Nothing here changes a result, but for the rounding of sums."""

    cache: Annotated[str, Field(pattern=r"^[^{}<>]+$")] = "cache"
    """Folder for what is fetched from the network: given VAE, weights of feature networks, reference statistics. Braces
    and angle brackets would be placeholders in the names of what a rule makes."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Count = 1
    """Threads of each process. Two jobs of one thread are faster than one of two at small sizes."""
    gpus_per_node: Count = 1
    """Processes that train one variant together, each on a GPU of its own where there are GPUs."""
    encode_batch: Count = 32
    """Images read at a time, and encoded at once by a GPU; a CPU encodes as many at once as fit its cache."""
    sample_batch: Count = 125
    """Samples drawn at a time."""
    cuda_graphs: Annotated[bool, Before(False)] = False
    """Compiled sampling (sampling.compile) launches each evaluation of its network as one CUDA graph. That pays where
    launching takes the host longer than the GPU needs for it: small networks, small batches."""


class Keep(Section):
    """What `dit-scaling clean` leaves of finished runs. Nothing else deletes it, and nothing here changes a result."""

    states: bool = True
    """Training states: a later `training.steps` resumes from them, and starts anew where there are none."""
    checkpoints: Literal["all", "ema", "last"] = "all"
    """Exported weights: all, those that are sampled (EMA), or of these only the last step's."""
