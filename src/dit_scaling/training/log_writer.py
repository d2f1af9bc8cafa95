"""The other end of `loggers.LogProcess`: ``python -m dit_scaling.training.log_writer NAME`` reads lines of JSON.

The first line is the run, each further one a step with its values, or a file of `loggers.Shown`. The end of the input
is the end of the job.
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

    def show(self, record: Path) -> None:
        """Log what a file of `loggers.Shown` says."""
        ...

    def close(self) -> None:
        """Write what is not yet written."""
        ...


class TensorBoard:
    """Event files in FOLDER/tensorboard/RUN; after a resume what lies beyond the state is hidden.

    A gate writes a file of its own, and hides nothing.
    """

    def __init__(self, run: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder, first = Path(run["folder"], "tensorboard", run["name"]), run["first_step"]
        # The state's own step was logged before it was saved.
        self._writer = SummaryWriter(str(folder), purge_step=None if first is None else first + 1)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def show(self, record: Path) -> None:
        import numpy as np
        from PIL import Image

        shown = json.loads(record.read_text())
        self.log(shown["step"], shown["values"])
        for name, text in shown["texts"].items():
            self._writer.add_text(name, text, shown["step"])
        for name, picture in shown["pictures"].items():
            pixels = np.asarray(Image.open(record.parent / picture).convert("RGB"))
            self._writer.add_image(name, pixels, shown["step"], dataformats="HWC")

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """A run of the project that is called as the study; a resumed run has the same id, and goes on.

    Two processes that write to one run overwrite each other there, so a lock lets one in at a time. What a gate tells
    is marked as waiting, and is taken by whoever holds the lock: training, or else the gate.
    """

    def __init__(self, run: Mapping[str, Any]) -> None:
        import wandb
        from filelock import FileLock

        self._wandb, self._about = wandb, run
        self._run: Any = None
        self._waiting = Path(run["folder"], "waiting for wandb", run["name"])
        self._lock = FileLock(Path(run["folder"], f"{run['name']}-wandb.lock"))
        if run["first_step"] is not None:
            self._lock.acquire()
            self._open()

    def _open(self) -> None:
        about = self._about
        self._run = self._wandb.init(
            project=about["study"],
            name=about["name"],
            id=about["id"],
            resume="allow",
            dir=about["folder"],
            config=about["settings"],
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)
        self._take()

    def show(self, record: Path) -> None:
        self._waiting.mkdir(parents=True, exist_ok=True)
        (self._waiting / record.stem).write_text(str(record))

    def _take(self) -> None:
        """Log what waits, over an axis of its own: W&B takes no step that is smaller than the last."""
        for mark in self._marks():
            record = Path(mark.read_text())
            shown = json.loads(record.read_text())
            for name in ("gate/step", "gate/*"):
                self._run.define_metric(name, step_metric="gate/step")
            pictures = {name: self._wandb.Image(str(record.parent / file)) for name, file in shown["pictures"].items()}
            self._run.log({"gate/step": shown["step"], **shown["values"], **shown["texts"], **pictures})
            mark.unlink()

    def _marks(self) -> list[Path]:
        return sorted(self._waiting.glob("*")) if self._waiting.is_dir() else []

    def close(self) -> None:
        """Finish the run, and let go of it; what was marked too late to be taken before is taken then."""
        from filelock import Timeout

        if self._run is not None:
            self._take()
            self._run.finish()
            self._lock.release()
        while self._marks():
            try:
                self._lock.acquire(blocking=False)
            except Timeout:
                return  # Who holds it takes what waits.
            self._open()
            self._take()
            self._run.finish()
            self._lock.release()


WRITERS: Mapping[str, Callable[[Mapping[str, Any]], Writer]] = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}
"""By the name in the config, which is also that of the extra with its packages."""


def main(name: str) -> None:
    """Log what stdin says; an error is the last line of stderr, and the exit code 1."""
    run = json.loads(sys.stdin.readline())
    if run["first_step"] is not None:
        os.nice(10)  # A gate lasts too short for a logger that waits for its turn.
    try:
        writer = WRITERS[name](run)
        for line in sys.stdin:
            told = json.loads(line)
            if "show" in told:
                writer.show(Path(told["show"]))
            else:
                writer.log(told["step"], told["values"])
        writer.close()
    except ImportError as error:
        sys.exit(f"{error}. Install it: pip install 'dit-scaling[{name}]'")
    except Exception as error:  # whatever a logger raises
        sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main(sys.argv[1])
