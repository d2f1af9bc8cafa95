"""Run by every Python that starts with this folder on PYTHONPATH: torch, once it is imported, sees a CUDA device."""

import importlib.util
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class AfterTorch(MetaPathFinder):
    """Has `pretended_cuda.pretend` run after torch's own import."""

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def and_pretend(module: ModuleType) -> None:
            execute(module)
            from pretended_cuda import pretend

            pretend()

        spec.loader.exec_module = and_pretend  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, AfterTorch())
