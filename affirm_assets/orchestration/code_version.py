"""A code version: a digest of modules and of every project module that they import, directly or not."""

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

Module = tuple[str, ...]
Roots = tuple[tuple[str, Path], ...]

_IMPORT = re.compile(
    rb"(?<!\\\n)^[ \t]*(?:import (?P<modules>[\w.]+(?: as \w+)?(?:, [\w.]+(?: as \w+)?)*)"
    rb"|from (?P<base>[\w.]+) import (?:(?P<names>[\w, ]+)|\((?P<lines>[\w,\s]+)\)))$",
    re.MULTILINE,
)
"""An import as nearly all are written, and not the end of one that began on the line before."""

_WORD = re.compile(rb"\bimport\b")


def code_version(packages: Mapping[str, Path], *modules: str) -> str:
    """Twelve hex digits for the modules of these dotted names, and for the tables (.csv) beside modules of their name.

    `packages`: name of a top-level package of the project -> the folder that holds it. Modules of other packages, third
    parties', do not count. A file is not looked at again in a process: what it becomes later is not what runs in it.
    """
    roots = _same(tuple(sorted(packages.items())))
    digest = hashlib.sha256()
    for module in modules:
        own = [each for each in _with_parents(tuple(module.split("."))) if _file_of(each, roots)]
        for each in own:
            digest.update(_digest(each, roots))
        imported = frozenset(name for each in own for name in _imported_modules(each, roots))
        digest.update(_digest_of_all(imported, roots))
    return digest.hexdigest()[:12]


@cache
def _same(roots: Roots) -> Roots:
    """One object for equal ones: they are in the key of each cache, where paths would be compared one by one."""
    return roots


def _with_parents(module: Module) -> Iterator[Module]:
    """Importing a.b.c runs a and a.b first."""
    for length in range(1, len(module) + 1):
        yield module[:length]


@cache
def _digest_of_all(modules: frozenset[Module], roots: Roots) -> bytes:
    """Of these and of all that they import. Thousands of datasets import the same few."""
    found: set[Module] = set()
    waiting = [*modules]
    while waiting:
        if (name := waiting.pop()) not in found:
            found.add(name)
            waiting.extend(_imported_modules(name, roots))
    digest = hashlib.sha256()
    for name in sorted(found):
        digest.update(_digest(name, roots))
    return digest.digest()


@cache
def _imported_modules(module: Module, roots: Roots) -> frozenset[Module]:
    """Those of the project, with their packages."""
    file = _file_of(module, roots)
    assert file is not None
    package = module if file.name == "__init__.py" else module[:-1]
    names = {each for name in _imports(file.read_bytes(), package) for each in _with_parents(name)}
    return frozenset(name for name in names if _file_of(name, roots))


@cache
def _digest(module: Module, roots: Roots) -> bytes:
    file = _file_of(module, roots)
    assert file is not None
    table = file.with_suffix(".csv")
    digest = hashlib.sha256(".".join(module).encode())
    digest.update(file.read_bytes())
    if table.is_file():
        digest.update(table.read_bytes())
    return digest.digest()


def _imports(source: bytes, package: Module) -> Iterator[Module]:
    """All that the source imports, however deep in its statements.

    A line of a text that reads like an import counts as one. Where the word stands in any other way, the source is
    parsed, which takes eight times as long.
    """
    found = [*_IMPORT.finditer(source)]
    if len(found) < len(_WORD.findall(source)):
        yield from _parsed_imports(ast.parse(source), package)
        return
    for each in found:
        if each["modules"]:
            yield from (tuple(name.split(".")) for name in _names(each["modules"]))
        else:
            base = each["base"].decode()
            relative = base.lstrip(".")
            yield from _imported_from(
                package, len(base) - len(relative), relative, _names(each["names"] or each["lines"])
            )


def _names(listed: bytes) -> Iterator[str]:
    """Of `a, b as c`: a and b."""
    for each in listed.decode().split(","):
        if words := each.split():
            yield words[0]


def _imported_from(package: Module, level: int, base: str, names: Iterable[str]) -> Iterator[Module]:
    """Each is a module, or a name in one: its parents are taken in either case."""
    start = package[: len(package) - level + 1] if level else ()
    start += tuple(base.split(".")) if base else ()
    for name in names:
        yield (*start, name)


def _parsed_imports(tree: ast.Module, package: Module) -> Iterator[Module]:
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield tuple(alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            names = (alias.name for alias in node.names)
            yield from _imported_from(package, node.level, node.module or "", names)


def _statements(parent: ast.AST) -> Iterator[ast.AST]:
    """Every statement below `parent`, however deep. Imports are statements; most of a tree is expressions."""
    for name in ("body", "orelse", "handlers", "finalbody", "cases"):
        for each in getattr(parent, name, ()):
            yield each
            yield from _statements(each)


@cache
def _file_of(module: Module, roots: Roots) -> Path | None:
    root = dict(roots).get(module[0])
    if root is None:
        return None
    candidates = (root.joinpath(*module).with_suffix(".py"), root.joinpath(*module, "__init__.py"))
    return next((path for path in candidates if path.is_file()), None)
