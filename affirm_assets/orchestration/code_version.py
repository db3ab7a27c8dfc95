"""A dataset's code version: a digest of its file and of every project module that it imports, directly or not."""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path


def code_version(source: Path, root: Path) -> str:
    """Twelve hex digits. `root` is the folder that holds the project's packages; modules outside of it do not count."""
    digest = hashlib.sha256()
    for file in sorted(_closure(source.resolve(), root.resolve())):
        digest.update(str(file.relative_to(root.resolve())).encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _closure(source: Path, root: Path) -> set[Path]:
    found: set[Path] = set()
    waiting = [source]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting.extend(_imported_files(file, root))
    return found


@cache
def _imported_files(file: Path, root: Path) -> frozenset[Path]:
    modules = set(_imported_modules(ast.parse(file.read_bytes()), _package_of(file, root)))
    return frozenset(path for module in modules if (path := _file_of(module, root)) is not None)


def _imported_modules(tree: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield tuple(alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            yield base
            for alias in node.names:
                yield (*base, alias.name)


def _package_of(file: Path, root: Path) -> tuple[str, ...]:
    return file.relative_to(root).parts[:-1]


def _file_of(module: tuple[str, ...], root: Path) -> Path | None:
    candidates = (root.joinpath(*module).with_suffix(".py"), root.joinpath(*module, "__init__.py"))
    return next((path for path in candidates if module and path.is_file()), None)
