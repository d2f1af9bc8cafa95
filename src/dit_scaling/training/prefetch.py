"""Input that is on its way to a GPU while the step before it computes."""

from collections.abc import Iterator

import torch

from dit_scaling.common.devices import send
from dit_scaling.training.batches import Batch


def ahead(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """Batches of the host on ``device``, each copied from pinned memory while the step before it computes."""
    if device.type != "cuda":
        yield from batches
        return
    stream = torch.cuda.Stream(device)

    def copied(batch: Batch) -> Batch:
        with torch.cuda.stream(stream):
            x0, y, noise = (send(tensor, device) for tensor in (batch.x0, batch.y, batch.noise))
        return Batch(x0, batch.t, y, noise)

    waiting = next(copies := map(copied, batches), None)
    while waiting is not None:
        torch.cuda.current_stream(device).wait_stream(stream)
        ready, waiting = waiting, next(copies, None)
        for tensor in (ready.x0, ready.y, ready.noise):
            tensor.record_stream(torch.cuda.current_stream(device))
        yield ready
