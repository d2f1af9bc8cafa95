"""Networks of one's own: a class by import path, found without being imported until it is counted or built."""

import importlib
import importlib.util
import sys
from functools import cache
from pathlib import Path
from typing import Any

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import sha256_file
from dit_scaling.variants.names import ClassVariant


def source_digest(path: str) -> str:
    """Digest of the file that holds the class ``package.module:Class``.

    Raises:
        UserError: there is no such module on Python's path or below the current folder.
    """
    module = path.partition(":")[0]
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None:
        raise UserError(
            f"'{path}': there is no module {module} on Python's path or below {Path.cwd()}. Check the name, or put the "
            "folder above it on PYTHONPATH."
        )
    return sha256_file(Path(spec.origin))[:16]


def load_class(path: str) -> Any:
    """The class ``package.module:Class``; its module is imported.

    Raises:
        UserError: the module cannot be found or imported, or has no such class.
    """
    module, _, name = path.partition(":")
    source_digest(path)
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever the module does when it is imported
        raise UserError(f"'{path}' cannot be imported ({type(error).__name__}: {error}).") from error


def build_class(variant: ClassVariant, input_size: int, num_classes: int, in_channels: int) -> Any:
    """The network that a variant names: a torch module.

    Raises:
        UserError: the class cannot be imported, or refuses its arguments.
    """
    arguments = dict(variant.options) | ({} if variant.patch is None else {"patch": variant.patch})
    try:
        return load_class(variant.family)(
            input_size=input_size, num_classes=num_classes, in_channels=in_channels, **arguments
        )
    except UserError:
        raise
    except Exception as error:
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        raise UserError(
            f"{variant.name}: {variant.family} cannot be built with input_size={input_size}, num_classes="
            f"{num_classes}, in_channels={in_channels}, {given} ({type(error).__name__}: {error})."
        ) from error


@cache
def _counted(text: str, input_size: int, num_classes: int, in_channels: int) -> tuple[int, int]:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    variant = ClassVariant.parse(text)
    with torch.device("meta"):
        network = build_class(variant, input_size, num_classes, in_channels)
        latent = torch.empty(1, in_channels, input_size, input_size)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(latent, torch.empty(1), torch.empty(1, dtype=torch.int64))
    weights = sum(weight.numel() for weight in network.parameters() if weight.requires_grad)
    return weights, counter.get_total_flops() // 2


def count_class_parameters(variant: ClassVariant, num_classes: int, in_channels: int, input_size: int) -> int:
    """Number of trained weights, of a network built without memory."""
    return _counted(variant.canonical(), input_size, num_classes, in_channels)[0]


def count_class_multiply_adds(variant: ClassVariant, input_size: int, in_channels: int) -> int:
    """Multiply-adds of one forward pass of one latent, by torch's counter of operations."""
    return _counted(variant.canonical(), input_size, 1, in_channels)[1]


def own_multiply_adds(variant: ClassVariant, input_size: int, in_channels: int) -> int | None:
    """The class's own closed form, its static ``multiply_adds``; None where it has none."""
    formula = getattr(load_class(variant.family), "multiply_adds", None)
    if formula is None:
        return None
    arguments = dict(variant.options) | ({} if variant.patch is None else {"patch": variant.patch})
    return int(formula(input_size=input_size, in_channels=in_channels, **arguments))
