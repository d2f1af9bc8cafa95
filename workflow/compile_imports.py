"""Import all that jobs and commands import, so that its bytecode is on disk: a sixth of what the packages hold.

Jobs of a fresh environment would else compile the same files side by side, and each of them anew where
PYTHONDONTWRITEBYTECODE is set, which `make setup` takes away for this.
"""

import importlib
import pkgutil

import snakemake.cli  # noqa: F401  the program that runs the pipeline

import dit_scaling


def import_package() -> list[str]:
    """Import every module of the package but its programs; returns their names."""
    names = [module.name for module in pkgutil.walk_packages(dit_scaling.__path__, "dit_scaling.")]
    modules = [name for name in names if not name.endswith("__main__")]
    for name in modules:
        importlib.import_module(name)
    return modules


if __name__ == "__main__":
    import_package()
