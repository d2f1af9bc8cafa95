"""The order of the rooms: a module imports from rooms before its own, never from those after it."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import ROOT

SOURCE = ROOT / "src" / "dit_scaling"
ORDER = (
    *("common", "charts", "diffusion", "variants", "config", "data", "latents", "models", "training", "sampling"),
    *("losses", "metrics", "paper", "claims", "laws", "health", "plan", "results", "report", "cli"),
)


def imported_rooms(module: Path) -> Iterator[str]:
    """The rooms that a module imports from, wherever in it."""
    for node in ast.walk(ast.parse(module.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            package, *rest = name.split(".")
            if package == "dit_scaling" and rest and rest[0] in ORDER:
                yield rest[0]


def upward(module: Path, source: Path = SOURCE) -> list[str]:
    """Rooms after its own that a module imports from."""
    room = module.relative_to(source).with_suffix("").parts[0]
    return sorted({other for other in imported_rooms(module) if ORDER.index(other) > ORDER.index(room)})


def modules() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def test_every_room_has_its_place() -> None:
    assert {module.relative_to(SOURCE).with_suffix("").parts[0] for module in modules()} == set(ORDER)


@pytest.mark.parametrize("module", modules(), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_nothing_is_imported_from_a_later_room(module: Path) -> None:
    assert upward(module) == []


def test_an_import_from_a_later_room_is_found(tmp_path: Path) -> None:
    module = tmp_path / "data" / "sources.py"
    module.parent.mkdir()
    module.write_text("def late():\n    from dit_scaling.report import page\n    import dit_scaling.config.study\n")
    assert upward(module, tmp_path) == ["report"]


def test_no_file_name_stands_twice() -> None:
    names = Counter(path.name for path in SOURCE.rglob("*.py") if path.name != "__init__.py")
    assert [name for name, count in names.items() if count > 1] == []


def test_contributing_names_the_rooms_in_this_order() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    assert " → ".join(f"`{room}`" for room in ORDER) in " ".join(text.split())
