"""A study from YAML files, and what is said of one that is wrong."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dit_scaling.common.errors import UserError
from dit_scaling.config.renames import new_name
from dit_scaling.config.study import Study
from dit_scaling.config.yaml_file import read_yaml


def parse_study(config: Mapping[str, Any], origin: str = "config") -> Study:
    """Check a config mapping, as YAML or Snakemake read it.

    Raises:
        UserError: every key that is unknown, of a wrong type or impossible, with value and reason.
    """
    try:
        return Study.model_validate_json(json.dumps(config))
    except ValidationError as error:
        raise UserError(f"{origin}: " + "; ".join(_complaints(error))) from None
    except (TypeError, ValueError) as error:
        raise UserError(f"{origin}: not a mapping of plain values ({error}).") from None


def _complaints(error: ValidationError) -> list[str]:
    """One line each; of an old key its new name, which is then not missed."""
    items = error.errors()
    renamed = {name for item in items if (name := new_name(_key(item)))}
    return [_describe(item) for item in items if item["type"] != "missing" or ".".join(_key(item)) not in renamed]


def _key(item: Any) -> list[str]:
    """The parts of the key that a complaint is about; pydantic marks complaints about the key itself."""
    return [str(part) for part in item["loc"] if part != "[key]"]


def _describe(item: Any) -> str:
    """One pydantic complaint as `key: reason (got value)`."""
    key = ".".join(_key(item))
    if (name := new_name(_key(item))) is not None:
        return f"{key}: is named {name} now, write that in its place"
    if item["type"] == "value_error":
        return str(item["ctx"]["error"])
    if item["type"] == "extra_forbidden":
        return f"{key}: unknown key, got {item['input']!r}"
    if item["type"] == "missing":
        return f"{key}: required, but not given"
    hint = " (YAML reads 1e-4 as text; write 1.0e-4)" if item["type"] == "float_type" else ""
    return f"{key}: {item['msg']}, got {item['input']!r}{hint}"


def load_study(path: Path, *overlays: Path) -> Study:
    """Read and check a YAML config file, with others laid over it in their order, as Snakemake does.

    Raises:
        UserError: a file cannot be read as in `read_yaml`, or together they are not a study.
    """
    config = read_yaml(path)
    for overlay in overlays:
        config = _laid_over(config, read_yaml(overlay))
    return parse_study(config, ", ".join(map(str, (path, *overlays))))


def _laid_over(config: Any, overlay: dict[str, Any]) -> Any:
    """As Snakemake merges: mappings key by key; everything else of ``overlay``, lists too, replaces what was there."""
    if not overlay:
        return config
    merged = dict(config) if isinstance(config, dict) else {}
    for key, value in overlay.items():
        merged[key] = _laid_over(merged.get(key, {}), value) if isinstance(value, dict) else value
    return merged
