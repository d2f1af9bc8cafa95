"""The other end of `loggers.LogProcess`: ``python -m dit_scaling.training.log_writer NAME`` reads lines of JSON.

The first line is the run, each further one a step with its values. The end of the input is the end of the run.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol


class Writer(Protocol):
    """What a row of `WRITERS` opens."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log the values of one step."""
        ...

    def close(self) -> None:
        """Write what is not yet written."""
        ...


class TensorBoard:
    """Event files in FOLDER/tensorboard/RUN; after a resume what lies beyond the state is hidden."""

    def __init__(self, run: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = Path(run["folder"], "tensorboard", run["name"])
        self._writer = SummaryWriter(str(folder), purge_step=run["first_step"])

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """A run of the project that is called as the study; a resumed run has the same id, and goes on."""

    def __init__(self, run: Mapping[str, Any]) -> None:
        import wandb

        self._run: Any = wandb.init(
            project=run["study"],
            name=run["name"],
            id=run["id"],
            resume="allow",
            dir=run["folder"],
            config=run["settings"],
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


WRITERS: Mapping[str, Callable[[Mapping[str, Any]], Writer]] = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}
"""By the name in the config, which is also that of the extra with its packages."""


def main(name: str) -> None:
    """Log what stdin says; an error is the last line of stderr, and the exit code 1."""
    os.nice(10)
    try:
        writer = WRITERS[name](json.loads(sys.stdin.readline()))
        for line in sys.stdin:
            told = json.loads(line)
            writer.log(told["step"], told["values"])
        writer.close()
    except ImportError as error:
        sys.exit(f"{error}. Install it: pip install 'dit-scaling[{name}]'")
    except Exception as error:  # whatever a logger raises
        sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main(sys.argv[1])
