"""A study from YAML files, and what is said of one that is wrong."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dit_scaling.common.errors import UserError
from dit_scaling.config.complaints import describe_faults
from dit_scaling.config.study import Study
from dit_scaling.config.yaml_file import read_yaml


def parse_study(config: Mapping[str, Any], files: Sequence[Path] = ()) -> Study:
    """Check a config mapping, as YAML or Snakemake read it.

    Args:
        config: the values.
        files: the YAML files that they are from, each laid over those before; errors name their lines.

    Raises:
        UserError: every key that is unknown, of a wrong type or impossible, with its place, value and reason.
    """
    try:
        return Study.model_validate_json(json.dumps(config))
    except ValidationError as error:
        raise UserError(describe_faults(error, Study, config, files)) from None
    except (TypeError, ValueError) as error:
        origin = ", ".join(map(str, files)) or "config"
        raise UserError(f"{origin}: not a mapping of plain values ({error}).") from None


def load_study(path: Path, *overlays: Path) -> Study:
    """Read and check a YAML config file, with others laid over it in their order, as Snakemake does.

    Raises:
        UserError: a file cannot be read as in `read_yaml`, or together they are not a study.
    """
    config = read_yaml(path)
    for overlay in overlays:
        config = laid_over(config, read_yaml(overlay))
    return parse_study(config, (path, *overlays))


def laid_over(config: Any, overlay: dict[str, Any]) -> Any:
    """As Snakemake merges: mappings key by key; everything else of ``overlay``, lists too, replaces what was there."""
    if not overlay:
        return config
    merged = dict(config) if isinstance(config, dict) else {}
    for key, value in overlay.items():
        merged[key] = laid_over(merged.get(key, {}), value) if isinstance(value, dict) else value
    return merged
