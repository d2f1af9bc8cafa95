"""What is said of a config that is no study: where, which key, what is wrong with it, and what was probably meant."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from dit_scaling.common.spelling import did_you_mean
from dit_scaling.config.renames import new_name
from dit_scaling.config.yaml_file import find_line
from dit_scaling.variants import usual_names


class ImpossibleSettingsError(ValueError):
    """Settings that are possible one by one, but not together; a sentence each, as `key: reason`."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def describe_faults(
    error: ValidationError, kind: type[BaseModel], config: Mapping[str, Any], files: Sequence[Path]
) -> str:
    """All that is wrong with a config, as `file, line: key: reason`.

    Args:
        error: pydantic's.
        kind: the model that the config is to be.
        config: the values that were given.
        files: YAML files that they were read from, each laid over those before; none where that is not known.
    """
    origin = ", ".join(map(str, files)) or "config"
    items = error.errors()
    renamed = {name for item in items if (name := new_name(_key(item)))}
    told = []
    for item in items:
        key = _key(item)
        if item["type"] == "missing" and ".".join(key) in renamed:
            continue
        if item["type"] == "too_short" and item["input"]:  # Of a list whose faulty items count as none.
            continue
        for sentence in _sentences(item, kind, config):
            place = _deepest(key, files)
            known = f"{place.file}, line {place.line}: {sentence}" if place else placed(sentence, files)
            told.append(known if known != sentence else f"{origin}: {sentence}")
    return "\n".join(told)


def placed(sentence: str, files: Sequence[Path]) -> str:
    """A sentence `key: reason` with the place of the key before it, where a file has the key."""
    stated = re.match(r"[a-z_]\w*(?:\.[\w-]+)*(?=: )", sentence)
    place = _deepest(stated[0].split("."), files) if stated else None
    return f"{place.file}, line {place.line}: {sentence}" if place and place.whole else sentence


def _key(item: Any) -> list[str]:
    """The parts of the key that a complaint is about; pydantic marks complaints about the key itself."""
    return [str(part) for part in item["loc"] if part != "[key]"]


@dataclass(frozen=True)
class _Place:
    file: Path
    line: int
    whole: bool
    """Whether all of the key stands there, not only the section that it would stand in."""


def _deepest(key: Sequence[str], files: Sequence[Path]) -> _Place | None:
    """Where the most of a key stands, in the last of the files that have as much."""
    found = [(line, file) for file in files if (line := find_line(file, key))]
    if not found:
        return None
    line, file = max(reversed(found), key=lambda place: len(place[0].key))
    return _Place(file, line.number, len(line.key) == len(key))


def _sentences(item: Any, kind: type[BaseModel], config: Mapping[str, Any]) -> Sequence[str]:
    """One pydantic complaint as `key: reason (got value)`, without the place."""
    key, given = ".".join(_key(item)), item["input"]
    if (name := new_name(_key(item))) is not None:
        return [f"{key}: is named {name} now, write that in its place"]
    match item["type"]:
        case "value_error":
            fault = item["ctx"]["error"]
            return fault.problems if isinstance(fault, ImpossibleSettingsError) else [str(fault)]
        case "extra_forbidden":
            word, keys = _key(item)[-1], _known_keys(kind, _key(item)[:-1])
            of_another = ". Another kind of this section has that key: take it out"  # as of another vae.source
            return [f"{key}: unknown key, got {given!r}" + (of_another if word in keys else _hint(word, keys))]
        case "missing":
            return [f"{key}: required, but not given"]
        case "float_type" if _is_number(given):
            return [f"{key}: {item['msg']}, got {given!r} (YAML reads 1e-4 as text; write 1.0e-4)"]
        case "literal_error":
            expected = item["ctx"]["expected"]
            return [f"{key}: {item['msg']}, got {given!r}" + _hint(given, re.findall(r"'([^']*)'", expected))]
        case "union_tag_invalid":
            told, given = item["ctx"]["expected_tags"], item["ctx"]["tag"]
            hint = _hint(given, re.findall(r"'([^']*)'", told))
            return [f"{key}.{item['ctx']['discriminator'].strip(chr(39))}: one of {told}, got {given!r}{hint}"]
        case "string_pattern_mismatch" if _key(item)[0] in ("variants", "checkpoints"):
            known = usual_names(config.get("sizes") or (), config.get("unet_sizes") or ())
            return [f"{key}: write DiT-SIZE/PATCH or UNet-SIZE, got {given!r}" + _hint(given, known)]
        case _:
            return [f"{key}: {item['msg']}, got {given!r}"]


def _hint(word: Any, known: Iterable[str]) -> str:
    hint = did_you_mean(str(word), known)
    return f".{hint}" if hint else ""


def _is_number(given: Any) -> bool:
    try:
        float(given)
    except (TypeError, ValueError):
        return False
    return True


def _known_keys(kind: type[BaseModel], place: Sequence[str]) -> set[str]:
    """Keys of the section at a place; parts that name no key, such as the kind of a source, lead nowhere else."""
    models = [kind]
    for part in place:
        deeper = [
            inner
            for model in models
            if part in model.model_fields
            for inner in _models_in(model.model_fields[part].annotation)
        ]
        models = deeper or models
    return {name for model in models for name in model.model_fields}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models among the types that an annotation is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)
