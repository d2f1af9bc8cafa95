"""What a training run tells its loggers, beside the records of metrics.jsonl."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch

from dit_scaling.config.stages import TrainSettings
from dit_scaling.diffusion.process import create_diffusion
from dit_scaling.training.bands import BandLosses
from dit_scaling.training.loggers import LogProcess, logged, run_of
from dit_scaling.training.runtime import Runtime
from dit_scaling.training.step import TrainingStep
from dit_scaling.variants import count_gflops, training_gflops


class Watch:
    """Tells the loggers of a run every window; does nothing where there are none."""

    def __init__(
        self, loggers: list[LogProcess], settings: TrainSettings, runtime: Runtime, train_step: TrainingStep
    ) -> None:
        self._loggers, self._runtime, self._train_step = loggers, runtime, train_step
        gflops = count_gflops(settings.variant, settings.input_size, settings.in_channels)
        self._samples = settings.recipe.batch_size
        self._tflops = 2e-3 * training_gflops(gflops, self._samples)  # of a step; a multiply-add is two operations
        self._last: tuple[int, float] | None = None
        if loggers:
            train_step.bands = BandLosses(len(create_diffusion(settings.diffusion).training_times), runtime.device)

    def tell(self, step: int, means: Mapping[str, float], seconds: float) -> None:
        """Hand over the means of the window that ends at ``step``, after ``seconds`` of training in all."""
        if not self._loggers:
            return
        values = {f"loss/{name}" if name != "gradient_norm" else name: value for name, value in means.items()}
        bands = self._train_step.bands
        values |= {f"loss by time/{name}": value for name, value in (bands.take() if bands else {}).items()}
        values |= {"learning_rate": self._train_step.learning_rate, "memory_gb": self._memory() / 1e9}
        if self._last and seconds > self._last[1]:
            rate = (step - self._last[0]) / (seconds - self._last[1])
            values |= {"samples_per_second": rate * self._samples, "tflops": rate * self._tflops}
            if self._runtime.peak_tflops:
                values["mfu"] = rate * self._tflops / self._runtime.peak_tflops
        self._last = (step, seconds)
        for logger in self._loggers:
            logger.log(step, values)

    def _memory(self) -> int:
        """Most bytes of the first rank's GPU so far; of its process where it has none."""
        device = self._runtime.device
        if device.type == "cuda":
            return torch.cuda.max_memory_allocated(device)
        return int(psutil.Process().memory_info().rss)


@contextmanager
def watching(
    settings: TrainSettings, runtime: Runtime, train_step: TrainingStep, states: Path, first_step: int
) -> Iterator[Watch]:
    """Tell the loggers of ``runtime`` of a run that starts at ``first_step``; their files lie beside ``states``."""
    run = run_of(settings, states.resolve().parent, first_step)
    with logged(runtime.loggers, run) as loggers:
        yield Watch(loggers, settings, runtime, train_step)
