"""A CUDA device that is none: tensors that say they are on it, and compute on the CPU.

What a GPU would refuse is refused here too: tensors of both devices in one operation, numpy on one of the GPU's. Where
the host would wait for the GPU (`.item()`, copies), `torch.cuda.set_sync_debug_mode("error")` raises. Everything else
about a GPU is not here: its arithmetic (autocast does nothing), compiler, memory, streams and NCCL.

With this folder on PYTHONPATH all Python processes have it, once they import torch.
"""

import contextlib
import threading
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.utils._device import DeviceContext
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("cuda", 0)
NAME = "a pretended GPU"
ELSEWHERE = ("aten::copy_", "aten::_to_copy")
"""Operations that may have tensors of both devices."""
ANSWERS = ("aten::_local_scalar_dense", "aten::nonzero")
"""Operations that tell the host a value, or a shape that depends on one."""

state = SimpleNamespace(sync="default", meta=0)


class OnDevice(Tensor):
    """A tensor of the device.

    To torch's own code it is a meta tensor, whose gradients need no device; ``device`` says CUDA to everybody else.
    """

    held: Tensor
    """What it stands for, on the CPU."""

    @staticmethod
    def __new__(cls, held: Tensor) -> "OnDevice":
        tensor = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device="meta",
            requires_grad=held.requires_grad,
        )
        tensor.held = held
        return tensor

    device = property(lambda _: DEVICE)
    is_cuda = property(lambda _: True)
    is_meta = property(lambda _: False)

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, value: "OnDevice") -> None:
        self.held = value.held

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        device, dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)
        if device is None or device.type != "cuda":
            return super().to(*args, **kwargs)
        return self if dtype is None else super().to(dtype)

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")

    __array__ = numpy

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def record_stream(self, stream: object) -> None:
        """Nothing to do."""

    def __repr__(self) -> str:
        return f"OnDevice({self.held})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, dict(kwargs or {}))


class Pretending(TorchDispatchMode):
    """Within it new tensors can be made on the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, dict(kwargs or {}))


def compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """One operation of torch, on what the tensors hold; its results are where those of a GPU's would be."""
    if state.meta:
        return func(*args, **kwargs)
    name = func._schema.name
    if name == "aten::_pin_memory":
        return args[0]
    tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
    ours = {id(tensor.held): tensor for tensor in tensors if isinstance(tensor, OnDevice)}
    others = [tensor for tensor in tensors if not isinstance(tensor, OnDevice) and tensor.dim() > 0]
    if ours and others and name not in ELSEWHERE:
        raise RuntimeError(f"Expected all tensors to be on the same device, but found at least two: {name}.")
    device = kwargs.get("device")
    there = bool(ours) if device is None else torch.device(device).type != "cpu"
    if device is not None:
        kwargs["device"] = torch.device("cpu")
    kwargs.pop("pin_memory", None)
    if state.sync == "error" and ((ours and name in ANSWERS) or _waits(name, args, kwargs, there)):
        raise RuntimeError(f"called a synchronizing CUDA operation: {name}")

    def held(value: Any) -> Any:
        return value.held if isinstance(value, OnDevice) else value

    def placed(value: Any) -> Any:
        if not there or not isinstance(value, Tensor):
            return value
        return ours[id(value)] if id(value) in ours else OnDevice(value)

    return tree_map(placed, func(*tree_map(held, args), **tree_map(held, kwargs)))


def _waits(name: str, args: Any, kwargs: dict[str, Any], there: bool) -> bool:
    """Whether it is a copy between host and device for which the host waits."""
    if name not in ELSEWHERE:
        return False
    copied_into = name == "aten::copy_"
    source, place = (args[1], isinstance(args[0], OnDevice)) if copied_into else (args[0], there)
    at_once = kwargs.get("non_blocking", len(args) > 2 and args[2])
    return isinstance(source, OnDevice) != place and not at_once


class Stream:
    """One of the device, on which nothing waits."""

    def __init__(self, *_: object) -> None:
        pass

    def wait_stream(self, *_: object) -> None:
        pass


class Event:
    """A mark on such a stream; between two lies a millisecond."""

    def __init__(self, **_: object) -> None:
        pass

    def record(self) -> None:
        pass

    synchronize = record

    def elapsed_time(self, *_: object) -> float:
        return 1.0


class Generator(torch.Generator):
    """One of the device, whose numbers are those of a CPU's."""

    def __new__(cls, *_: object) -> "Generator":
        return super().__new__(cls)


def inference_mode(mode: Any = True) -> Any:
    """`torch.no_grad`: torch cannot index a tensor like ours in inference mode."""
    return torch.no_grad()(mode) if callable(mode) else torch.set_grad_enabled(not mode)


def pretend() -> None:
    """Have this process, which has just imported torch, see one CUDA device."""
    for name, answer in {
        "is_available": True,
        "is_bf16_supported": True,
        "device_count": 1,
        "current_device": 0,
        "get_device_name": NAME,
        "get_device_capability": (9, 0),
        "get_device_properties": SimpleNamespace(name=NAME, total_memory=80 * 2**30),
        "max_memory_allocated": 0,
        "current_stream": Stream(),
        "stream": contextlib.nullcontext(),
        **dict.fromkeys(("_lazy_init", "set_device", "synchronize", "empty_cache", "reset_peak_memory_stats")),
    }.items():
        setattr(torch.cuda, name, lambda *_, answer=answer, **__: answer)
    torch.cuda.Stream, torch.cuda.Event = Stream, Event
    torch.Generator, torch.inference_mode = Generator, inference_mode
    torch.nn.Module.compile = lambda *_, **__: None
    torch.cuda.set_sync_debug_mode = lambda mode: setattr(state, "sync", mode)
    torch._C._ensureCUDADeviceGuardSet()
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device="cuda") begins on the CPU
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    _leave_meta_alone()
    _in_all_threads()


def _leave_meta_alone() -> None:
    """Within ``torch.device("meta")`` tensors are on the meta device; elsewhere torch's own code means ours by it."""
    within = DeviceContext.__torch_function__

    def call(self: DeviceContext, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        state.meta += self.device.type == "meta"
        try:
            return within(self, func, types, args, kwargs)
        finally:
            state.meta -= self.device.type == "meta"

    DeviceContext.__torch_function__ = call


def _in_all_threads() -> None:
    Pretending().__enter__()
    run = threading.Thread.run

    def pretending(thread: threading.Thread) -> None:
        with Pretending():
            run(thread)

    threading.Thread.run = pretending
