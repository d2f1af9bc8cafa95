"""torch.compile as training and sampling use it: one shape, and words for what goes wrong."""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch import nn

from dit_scaling.common.errors import UserError

log = logging.getLogger(__name__)

Module = TypeVar("Module", bound=nn.Module)


def compiled(model: Module, key: str = "training.compile", *, graphs: bool = False) -> Module:
    """The model compiled for its one batch shape, or as it is, with a warning, where no compiler is found.

    Args:
        model: on its device; it is changed in place.
        key: the config's key that asked for it, for messages.
        graphs: whether what it launches on a GPU is kept as a CUDA graph, and launched at once from then on. An output
            is then overwritten by the next one.
    """
    if not compiler_found():
        log.warning("%s: no compiler %s on this machine; the job runs on without it.", key, compiler())
        return model
    if graphs and next(model.parameters()).device.type != "cuda":
        log.warning("resources.cuda_graphs: only GPUs have graphs; the job runs on without them.")
        graphs = False
    model.compile(dynamic=False, mode="reduce-overhead" if graphs else "default")
    return model


@contextmanager
def compiler_errors(key: str = "training.compile") -> Iterator[None]:
    """Says what to do where what torch.compile kept of an earlier process, which a first step loads, is broken.

    Raises:
        UserError: compiled code cannot be loaded.
    """
    try:
        yield
    except RuntimeError as error:
        cause = getattr(error, "inner_exception", None)  # of the compiler's own errors, whose import takes seconds
        if not isinstance(cause, ImportError | OSError):
            raise
        from torch._inductor.runtime.cache_dir_utils import cache_dir

        raise UserError(
            f"{key}: compiled code cannot be loaded ({cause}). A process that was killed while it compiled "
            f"leaves broken files behind: delete {cache_dir()} and run the same command again."
        ) from error


def compiler() -> str:
    """The C++ compiler that torch.compile uses on a CPU."""
    return os.environ.get("CXX", "g++")


def compiler_found() -> bool:
    """Whether that compiler is here."""
    return shutil.which(compiler()) is not None
