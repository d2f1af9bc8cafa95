"""Config keys that name a row of a table: a row that is added is allowed, and in the schema, at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticKnownError, core_schema


@dataclass(frozen=True, eq=False)
class NameIn:
    """Marks a text as the name of a row: ``sampler: Annotated[str, NameIn(SAMPLERS)]``."""

    table: Mapping[str, Any]

    def __get_pydantic_core_schema__(self, _source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._known, handler(str))

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"enum": [*self.table], "type": "string"}

    def _known(self, name: str) -> str:
        if name not in self.table:
            *others, last = (f"'{known}'" for known in self.table)
            expected = f"{', '.join(others)} or {last}" if others else last
            raise PydanticKnownError("literal_error", {"expected": expected})
        return name
