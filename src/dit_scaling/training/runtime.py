"""How a training job runs, and how it is asked to stop."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated

import torch
from pydantic import PlainSerializer, PlainValidator

from dit_scaling.config.resources_settings import TrainingResources

Device = Annotated[torch.device, PlainValidator(torch.device), PlainSerializer(str)]

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)  # srun answers the first by killing its tasks, and passes the second on


class Runtime(TrainingResources):
    """How a job runs, and where; nothing here changes what it computes, but for the rounding of sums."""

    device: Device


class Interrupted(SystemExit):
    """SIGTERM arrived and the state is saved; the next start goes on from it."""


@contextmanager
def sigterm_noticed(react: Callable[[int], object] | None = None) -> Iterator[list[int]]:
    """A list that stops being empty when SIGTERM or SIGUSR1 arrives, so that the loop can finish its step first.

    ``react`` is called with the signal's number, in the middle of whatever runs then.
    """
    received: list[int] = []

    def notice(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if react is not None:
            react(number)

    previous = {number: signal.signal(number, notice) for number in STOP_SIGNALS}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
