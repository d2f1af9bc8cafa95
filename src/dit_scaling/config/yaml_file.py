"""Reading a YAML file of people's: no key twice, no more than a config can need, and from a file only."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import read_regular

MOST_BYTES = 1 << 20
MOST_VALUES = 100_000
"""Keys and values with every alias written out, as they are once Snakemake and pydantic have walked over them."""
MERGE = "tag:yaml.org,2002:merge"


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Raises:
        UserError: it is missing, no regular file, larger than `MOST_BYTES`, not YAML, no mapping, names a key twice in
            one mapping, or its aliases stand for more than `MOST_VALUES` values.
    """
    try:
        text = read_regular(path, MOST_BYTES).decode()
        loader = yaml.SafeLoader(text)
        try:
            root = loader.get_single_node()
            if root is not None:
                _count_values(root, path, {})
                _refuse_twins(root, path, loader)
            config = loader.construct_document(root) if root is not None else None
        finally:
            loader.dispose()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} cannot be read: {error}.") from None
    # ValueError: numbers and dates of an impossible form.
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(config, dict):
        raise UserError(f"{path} holds no mapping of keys to values; start from config/config.yaml.")
    return config


@dataclass(frozen=True)
class Line:
    """Where a key stands."""

    key: tuple[str, ...]
    """As much of it as the file has."""
    number: int


def find_line(path: Path, key: Sequence[str]) -> Line | None:
    """The line of a key, or of the longest beginning of it that the file has; None where there is none.

    Args:
        path: a file that `read_yaml` takes.
        key: names of mappings and numbers of lists; those that are not there, but have something behind them that is,
            count as left out.
    """
    node, found, number = yaml.compose(read_regular(path, MOST_BYTES), yaml.SafeLoader), [], 0
    for part in key:
        inner = _inner(node, part)
        if inner is not None:
            node, number = inner
            found.append(part)
    return Line(tuple(found), number) if found else None


def _inner(node: Node | None, part: str) -> tuple[Node, int] | None:
    """What stands in a mapping or list under a name or number, and in which line."""
    if isinstance(node, MappingNode):
        return next(((value, _line(key)) for key, value in node.value if key.value == part), None)
    if isinstance(node, SequenceNode) and part.isdigit() and int(part) < len(node.value):
        return node.value[int(part)], _line(node.value[int(part)])
    return None


def _children(node: Node) -> list[Node]:
    if isinstance(node, MappingNode):
        return [child for pair in node.value for child in pair]
    return list(node.value) if isinstance(node, SequenceNode) else []


def _count_values(node: Node, path: Path, counted: dict[int, int | None]) -> int:
    """Values below ``node``, itself included; ``counted`` holds those of each node so far, None while it is counted."""
    if id(node) in counted:
        known = counted[id(node)]
        if known is None:
            raise UserError(f"{path}, line {_line(node)}: an alias stands within what it is an alias of. Write it out.")
        return known
    counted[id(node)] = None
    total = 1 + sum(_count_values(child, path, counted) for child in _children(node))
    if total > MOST_VALUES:
        raise UserError(
            f"{path}, line {_line(node)}: with its aliases written out this is over {MOST_VALUES:,} values, more than "
            "any config needs. Use fewer aliases."
        )
    counted[id(node)] = total
    return total


def _refuse_twins(root: Node, path: Path, loader: yaml.SafeLoader) -> None:
    """See that no mapping names a key twice; what `<<` merges in may be named again, as YAML has it."""
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        waiting += _children(node)
        lines: dict[Hashable, int] = {}
        for key, _ in node.value if isinstance(node, MappingNode) else []:
            if not isinstance(key, ScalarNode):
                continue
            name = key.value if key.tag == MERGE else loader.construct_object(key)
            if name in lines:
                raise UserError(
                    f"{path}: the key '{key.value}' stands in line {lines[name]} and again in line {_line(key)}, and "
                    "only one of them would count. Delete the other."
                )
            lines[name] = _line(key)


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1
