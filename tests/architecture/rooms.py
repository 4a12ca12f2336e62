"""Print the rooms, arrows and circles of a package from its imports: `python -m tests.architecture.rooms model_export`.

A room is a folder or a module directly in the package. An arrow is an import from one room to another; a circle is a
group of modules that import one another, directly or through others. Imports in functions count as all others do.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grimp


@dataclass(frozen=True)
class HiddenImport:
    """An import inside a function."""

    place: str  # file:line
    statement: str
    reason: str  # the comment beside it or in the line above; "" where there is none


@dataclass
class Layout:
    modules: dict[str, Counter[str]] = field(default_factory=dict)  # room -> lines of each module
    arrows: Counter[tuple[str, str]] = field(default_factory=Counter)  # (importing room, imported room) -> imports
    circles: list[list[str]] = field(default_factory=list)
    hidden: list[HiddenImport] = field(default_factory=list)


def layout(package: str, root: Path) -> Layout:
    """Read the package `package` that lies in `root`."""
    found = Layout()
    for path in sorted((root / package).rglob("*.py")):
        name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        source = path.read_text()
        found.modules.setdefault(_room(name), Counter())[name] = len(source.splitlines())
        found.hidden.extend(_hidden(path.relative_to(root), source))
    sys.path.insert(0, str(root))  # grimp finds a package as Python does
    try:
        graph = grimp.build_graph(package, cache_dir=None)
    finally:
        sys.path.remove(str(root))
    imports = {name: graph.find_modules_directly_imported_by(name) for name in sorted(graph.modules)}
    for importer, imported in imports.items():
        found.arrows.update((_room(importer), _room(name)) for name in imported if _room(importer) != _room(name))
    found.circles = _circles(imports)
    return found


def _room(module: str) -> str:
    """`package.room` of `package.room.module`; `package` of its own `__init__`, which is no room."""
    return ".".join(module.split(".")[:2])


def _hidden(path: Path, source: str) -> Iterator[HiddenImport]:
    lines = source.splitlines()
    functions = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    imports = {
        node.lineno: node
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    above = ""
    for number, node in sorted(imports.items()):
        before = lines[number - 2].strip()
        # imports that follow one another share the reason of the first
        above = before if before.startswith("#") else above if (number - 1) in imports else ""
        comments = [line.partition("  # ")[2] for line in lines[number - 1 : node.end_lineno]]
        beside = next(filter(None, comments), "")
        yield HiddenImport(f"{path}:{number}", ast.unparse(node), beside or above.removeprefix("#").strip())


def _circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected groups of more than one module: all that reach one another."""
    reach = {name: _reachable(name, imports) for name in imports}
    groups = {frozenset(other for other in reach[name] if name in reach[other]) for name in imports}
    return sorted(sorted(group) for group in groups if len(group) > 1)


def _reachable(start: str, imports: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for name in imports.get(waiting.pop(), set()) - seen:
            seen.add(name)
            waiting.append(name)
    return seen


def report(package: str, found: Layout) -> str:
    lines = [f"{package}: {len(rooms(package, found))} rooms, {len(found.arrows)} arrows, {len(found.circles)} circles"]
    for room, modules in sorted(found.modules.items()):
        lines.append(f"  {room:40} {len(modules):4} modules {sum(modules.values()):6} lines")
    lines.append("arrows between rooms")
    lines += [f"  {importer} -> {imported}: {count}" for (importer, imported), count in sorted(found.arrows.items())]
    lines.append("circles among modules")
    lines += ["  " + ", ".join(circle) for circle in found.circles] or ["  none"]
    lines.append("imports inside functions")
    lines += [f"  {it.place}: {it.statement}  # {it.reason or 'NO REASON'}" for it in found.hidden] or ["  none"]
    return "\n".join(lines)


def rooms(package: str, found: Layout) -> list[str]:
    return sorted(set(found.modules) - {package})


if __name__ == "__main__":
    for name in sys.argv[1:] or ["service", "model_export"]:
        print(report(name, layout(name, Path.cwd())))
