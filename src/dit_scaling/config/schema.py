"""The JSON schema of a config file, generated from the typed definition."""

import json
from typing import Any

from dit_scaling.config.study import Study


def study_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of `Study`, for Snakemake's validation and for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Study.model_json_schema(mode="validation")}


def schema_text() -> str:
    """The schema as it stands in ``config/study.schema.json``."""
    return json.dumps(study_schema(), indent=2) + "\n"
