"""Files of weights, safetensors or torch's own, read without running code of theirs."""

import argparse
import pathlib
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from dit_scaling.common.errors import UserError
from dit_scaling.common.foreign import name_foreign_file

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name and the header's texts. The tensors stay on disk until they are used.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        return load_file(path), metadata
    except Exception as error:  # broken bytes make safetensors raise nearly anything
        raise _unreadable(path, error) from None


def read_torch(path: Path) -> Any:
    """What torch.save wrote: tensors, and the plain values that training scripts keep beside them.

    Raises:
        UserError: it cannot be read, or not without running code of it.
    """
    try:
        with torch.serialization.safe_globals(_values()):
            # Mapped: of a training checkpoint's weights, averages and optimiser states only some are read.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # broken bytes make torch.load raise nearly anything
        raise _unreadable(path, error) from None


def _values() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """Of what training scripts save beside weights, the kinds that can hold values only.

    These are the arguments of DiT's train.py, paths among them, and what numpy writes: a best loss, the state of its
    random numbers.
    """
    scalar, array = np._core.multiarray.scalar, np._core.multiarray._reconstruct  # type: ignore[attr-defined]
    kinds = {type(np.dtype(code)) for code in "?bBhHiIlLqQefdUS"}
    return [
        argparse.Namespace,
        pathlib.PosixPath,
        np.ndarray,
        np.dtype,
        *kinds,
        *(
            (function, f"numpy.{core}.multiarray.{name}")
            for core in ("core", "_core")
            for function, name in ((scalar, "scalar"), (array, "_reconstruct"))
        ),
    ]


def _unreadable(path: Path, error: Exception) -> UserError:
    if foreign := name_foreign_file(path):
        return UserError(f"{path} is no checkpoint but {foreign}.")
    text = ESCAPES.sub("", str(error))
    unsafe = re.search(r"GLOBAL ([\w.]+)", text)
    if unsafe:
        return UserError(
            f"{path} cannot be read as a checkpoint without running code of it: it holds {unsafe[1]}. Where you trust "
            "it, load it where it was made and save its weights alone, like torch.save(content['ema'], ...)."
        )
    # torch's first line advises to run whatever the file holds.
    inner = re.search(r"Weights only load failed.*WeightsUnpickler error: ([^\n]*)", text, re.DOTALL)
    reason = (inner[1] if inner else text.partition("\n")[0]) or type(error).__name__
    return UserError(
        f"{path} cannot be read as a checkpoint ({reason}). It may be cut short or no checkpoint at all: fetch or make "
        "it again."
    )
