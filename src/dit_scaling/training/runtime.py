"""How a training job runs, and how it is asked to stop."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated

import torch
from pydantic import PlainSerializer, PlainValidator

from dit_scaling.config.resources_settings import TrainingResources
from dit_scaling.config.training_settings import LoggerName

Device = Annotated[torch.device, PlainValidator(torch.device), PlainSerializer(str)]

# From a scheduler (srun answers SIGTERM by killing its tasks, and passes SIGUSR1 on), from the keyboard, and from a
# terminal that closes.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)


class Runtime(TrainingResources):
    """How a job runs, and where; nothing here changes what it computes, but for the rounding of sums."""

    device: Device
    loggers: tuple[LoggerName, ...] = ()
    """What the training is also logged to."""
    peak_tflops: float | None = None
    """Of all devices of the job together, where the data sheet is known: then utilisation is logged."""


class Interrupted(SystemExit):
    """A signal asked for an end, and the state is saved; the next start resumes from it."""


@contextmanager
def stop_noticed(react: Callable[[int], object] | None = None) -> Iterator[list[int]]:
    """A list that stops being empty when one of `STOP_SIGNALS` arrives, so that the loop can finish its step first.

    A second SIGINT is a KeyboardInterrupt. What is ignored, as SIGHUP by nohup, stays so. ``react`` is called with the
    signal's number, in the middle of whatever runs then.
    """
    received: list[int] = []

    def notice(number: int, _frame: FrameType | None) -> None:
        again = number == signal.SIGINT and number in received
        received.append(number)
        if react is not None:
            react(number)
        if again:
            raise KeyboardInterrupt

    noticed = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, notice) for number in noticed}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
