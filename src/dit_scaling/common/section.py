"""What configs and the settings of stages are made of: typed, frozen parts with one canonical text and digest.

A key that is added later must not change the digests of studies that are finished. It says beside its type what held
before it existed: ``background: Annotated[str, Before("none")] = "white"``. A part in which the key has that value is
written without it, as before there was one, and read back with it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from dit_scaling.common.files import canonical_json, digest

Count = Annotated[int, Field(ge=1)]
Numbered = Annotated[int, Field(ge=1, le=100_000)]  # files, whose names have five digits
Step = Annotated[int, Field(ge=1, lt=10**9)]  # of training; names of its states have nine digits
Seed = Annotated[int, Field(ge=0, lt=2**63)]  # more are none for torch
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveFloat = Annotated[float, Field(gt=0)]


@dataclass(frozen=True)
class Before:
    """Marks a key that was added later: ``value`` is what held before the key existed."""

    value: Any


class Section(BaseModel):
    """A part of a config or of settings: unknown keys, silent conversions, infinity and NaN are refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        for name in _marked(cls):
            if cls.model_fields[name].is_required():
                raise TypeError(f"{cls.__name__}.{name}: a key with Before needs a default, as old text leaves it out.")

    def canonical(self) -> str:
        """JSON with sorted keys: equal settings give equal text."""
        return canonical_json(self.stored())

    @property
    def digest(self) -> str:
        """16 hex digits that stand for these settings."""
        return digest(self.stored())

    @classmethod
    def parse(cls, text: str) -> Self:
        """The settings back from `canonical()`.

        Raises:
            ValidationError: the text is of other settings.
        """
        return cls.model_validate_json(text)._with_what_held_before()

    def stored(self) -> dict[str, Any]:
        """As plain values, without the keys whose value is what held before they existed."""
        plain = self.model_dump(mode="json")
        before = _marked(type(self))
        return {
            name: _map_sections(Section.stored, getattr(self, name), value)
            for name, value in plain.items()
            if name not in before or before[name] != getattr(self, name)
        }

    def _with_what_held_before(self) -> Self:
        """These settings as their text meant them: a key that it left out has not the default of today."""
        absent = {name: value for name, value in _marked(type(self)).items() if name not in self.model_fields_set}
        parts = {name: getattr(self, name) for name in type(self).model_fields if name not in absent}
        parts = {name: _map_sections(Section._with_what_held_before, part, part) for name, part in parts.items()}
        return self.model_copy(update=parts | absent)


@cache
def _marked(kind: type[Section]) -> dict[str, Any]:
    """What held before the keys of ``kind`` that were added later."""
    fields = kind.model_fields.items()
    return {name: mark.value for name, field in fields for mark in field.metadata if isinstance(mark, Before)}


def _map_sections(function: Callable[[Any], Any], value: Any, plain: Any) -> Any:
    """``plain``, a form of ``value``, in which ``function`` of each section stands in the section's place."""
    if isinstance(value, Section):
        return function(value)
    if isinstance(value, tuple):
        return type(plain)(_map_sections(function, *pair) for pair in zip(value, plain, strict=True))
    if isinstance(value, dict):
        return {key: _map_sections(function, value[key], item) for key, item in plain.items()}
    return plain
