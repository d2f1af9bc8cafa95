"""The processes that train one variant together: what is shared out, summed and agreed between them.

Everything random is drawn for the global batch as a function of (seed, step), so ranks differ only in which rows of
it they compute; the mean of their gradients is the gradient of the global batch.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dit_scaling.common.errors import UserError


@dataclass(frozen=True)
class Ranks:
    """One process among ``count``; by default the only one, for which every method is free."""

    index: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes states, logs and exports."""
        return self.index == 0

    def share(self, batch_size: int) -> slice:
        """Rows of the global batch that this rank computes.

        Raises:
            UserError: the batch cannot be cut into equal shares; the mean over unequal ones is not that of the samples.
        """
        if batch_size % self.count:
            raise UserError(f"training.batch_size: {batch_size} is not divisible by {self.count} ranks.")
        size = batch_size // self.count
        return slice(self.index * size, (self.index + 1) * size)

    def replicate(self, model: nn.Module) -> nn.Module:
        """The model, with gradients averaged over ranks at the end of each backward pass."""
        if self.count == 1:
            return model
        return DistributedDataParallel(model, broadcast_buffers=False, gradient_as_bucket_view=True)

    def adding_up(self, network: nn.Module, last: bool) -> AbstractContextManager[None]:
        """Around forward and backward of a part of the share: gradients are averaged after the ``last`` part only."""
        if last or not isinstance(network, DistributedDataParallel):
            return nullcontext()
        apart: AbstractContextManager[None] = network.no_sync()
        return apart

    def average_(self, tensor: Tensor) -> None:
        """Replace a tensor by its mean over ranks."""
        if self.count > 1:
            dist.all_reduce(tensor)
            tensor /= self.count

    def copy_from_first_(self, tensor: Tensor) -> None:
        """Replace a tensor by that of the first rank."""
        if self.count > 1:
            dist.broadcast(tensor, src=0)

    def any(self, *flags: bool) -> list[bool]:
        """For each flag whether it is set on any rank: a signal or a clock may reach one of them only.

        Runs on the CPU, so that nobody waits for a GPU.
        """
        if self.count == 1:
            return list(flags)
        raised = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(raised, dist.ReduceOp.MAX)
        return [bool(flag) for flag in raised.tolist()]

    def wait(self) -> None:
        """Until all ranks are here."""
        self.any(False)


ALONE = Ranks()


@contextmanager
def torchrun_ranks(device_type: str) -> Iterator[tuple[Ranks, torch.device]]:
    """This process's place among those that torchrun started, and its device: gloo between CPUs, NCCL between GPUs.

    A rank that fails leaves at once: to end a NCCL group is to wait for ranks that wait for this one.
    """
    cuda = device_type == "cuda"
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
    yield Ranks(dist.get_rank(), dist.get_world_size()), device
    dist.destroy_process_group()
