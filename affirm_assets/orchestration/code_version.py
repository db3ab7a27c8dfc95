"""A code version: a digest of modules and of every project module that they import, directly or not."""

import ast
import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

Module = tuple[str, ...]


def code_version(packages: Mapping[str, Path], *modules: str) -> str:
    """Twelve hex digits for the modules of these dotted names, and for the tables (.csv) beside modules of their name.

    `packages`: name of a top-level package of the project -> the folder that holds it. Modules of other packages, third
    parties', do not count. A file is not looked at again in a process: what it becomes later is not what runs in it.
    """
    roots = tuple(sorted(packages.items()))
    found: set[Module] = set()
    waiting = [tuple(module.split(".")) for module in modules]
    while waiting:
        for name in _with_parents(waiting.pop()):
            if name not in found and _file_of(name, roots):
                found.add(name)
                waiting.extend(_imported_modules(name, roots))
    digest = hashlib.sha256()
    for name in sorted(found):
        digest.update(".".join(name).encode())
        digest.update(_content(name, roots))
    return digest.hexdigest()[:12]


def _with_parents(module: Module) -> Iterator[Module]:
    """Importing a.b.c runs a and a.b first."""
    for length in range(1, len(module) + 1):
        yield module[:length]


@cache
def _imported_modules(module: Module, roots: tuple[tuple[str, Path], ...]) -> frozenset[Module]:
    file = _file_of(module, roots)
    assert file is not None
    package = module if file.name == "__init__.py" else module[:-1]
    return frozenset(_imports(ast.parse(file.read_bytes()), package))


@cache
def _content(module: Module, roots: tuple[tuple[str, Path], ...]) -> bytes:
    file = _file_of(module, roots)
    assert file is not None
    table = file.with_suffix(".csv")
    return file.read_bytes() + (table.read_bytes() if table.is_file() else b"")


def _statements(parent: ast.AST) -> Iterator[ast.AST]:
    """Every statement below `parent`, however deep. Imports are statements; most of a tree is expressions."""
    for name in ("body", "orelse", "handlers", "finalbody", "cases"):
        for each in getattr(parent, name, ()):
            yield each
            yield from _statements(each)


def _imports(tree: ast.Module, package: Module) -> Iterator[Module]:
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield tuple(alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            for alias in node.names:
                yield (*base, alias.name)  # a module, or a name in one: its parents are taken in either case


@cache
def _file_of(module: Module, roots: tuple[tuple[str, Path], ...]) -> Path | None:
    root = dict(roots).get(module[0])
    if root is None:
        return None
    candidates = (root.joinpath(*module).with_suffix(".py"), root.joinpath(*module, "__init__.py"))
    return next((path for path in candidates if path.is_file()), None)
