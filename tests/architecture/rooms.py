"""Rooms, arrows and circles of a package, read from its imports.

    python -m tests.architecture.rooms model_export

A room is a module or folder at the top of the package; an arrow goes from the room that imports to the one imported.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from importlib.util import find_spec
from pathlib import Path

import grimp

OURS = ("alert_classifier", "service", "model_export")


@dataclass(frozen=True)
class House:
    """`rooms`: name -> (modules, lines). `arrows`: (from, to) -> imports. `circle`: modules that import one another,
    the first that is found. `hidden`: imports of ours inside functions as (module, line, whether a comment on the
    line or the one above says why).
    """

    rooms: dict[str, tuple[int, int]]
    arrows: dict[tuple[str, str], int]
    circle: list[str]
    hidden: list[tuple[str, int, bool]]


def survey(package: str) -> House:
    """The house of an importable package. Imports under `if TYPE_CHECKING` count: they are arrows too."""
    graph = grimp.build_graph(package, cache_dir=None)
    modules = sorted(graph.modules)
    room = {module: module.split(".")[1] if "." in module else module for module in modules}
    rooms: dict[str, tuple[int, int]] = {}
    for module in modules:
        number, lines = rooms.get(room[module], (0, 0))
        rooms[room[module]] = number + 1, lines + len(_path(module).read_text().splitlines())
    rooms.pop(package, None)
    edges = {module: sorted(graph.find_modules_directly_imported_by(module)) for module in modules}
    arrows = Counter((room[a], room[b]) for a, others in edges.items() for b in others if room[a] != room[b])
    hidden = [found for module in modules for found in _hidden(module)]
    return House(rooms, {arrow: arrows[arrow] for arrow in sorted(arrows)}, _circle(edges), hidden)


def _path(module: str) -> Path:
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin)


def _hidden(module: str) -> Iterator[tuple[str, int, bool]]:
    text = _path(module).read_text()
    lines = text.splitlines()
    for function in ast.walk(ast.parse(text)):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in OURS:
                beside = lines[node.lineno - 2 : node.end_lineno]
                yield module, node.lineno, any("#" in line for line in beside)


def _circle(edges: dict[str, list[str]]) -> list[str]:
    """Modules that import one another in a circle, the first that is found; empty where there is none."""
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def main(package: str) -> None:
    house = survey(package)
    print(f"{package}: {len(house.rooms)} rooms, {len(house.arrows)} arrows")
    for name, (modules, lines) in sorted(house.rooms.items()):
        print(f"  {name:20} {modules:3} modules {lines:6,} lines")
    leaving: dict[str, list[str]] = defaultdict(list)
    for (start, end), number in house.arrows.items():
        leaving[start].append(f"{end} ({number})")
    for start, ends in leaving.items():
        print(f"  {start} -> {', '.join(ends)}")
    print(f"  circle: {' -> '.join(house.circle) or 'none'}")
    for module, line, explained in house.hidden:
        print(f"  inside a function{'' if explained else ', without a reason'}: {module}:{line}")


if __name__ == "__main__":
    main(sys.argv[1])
