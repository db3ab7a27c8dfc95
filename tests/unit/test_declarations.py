"""Declarations never make a Spark session: they are imported where there is none."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import affirm_assets

PACKAGE = Path(affirm_assets.__file__).parent
FOLDERS = ("declare", "audits", "lender", "datasets")
MODULES = [PACKAGE / "errors.py", *(file for name in FOLDERS for file in sorted((PACKAGE / name).rglob("*.py")))]


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_declarations_never_make_a_session(file: Path) -> None:
    assert {"SparkSession", "getOrCreate"}.isdisjoint(names_in(ast.parse(file.read_bytes())))


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("from pyspark.sql import SparkSession", id="import"),
        pytest.param("from pyspark.sql import SparkSession as Session", id="import under another name"),
        pytest.param("import pyspark.sql\npyspark.sql.SparkSession.active()", id="attribute"),
        pytest.param("def f(spark: SparkSession): ...", id="annotation"),
        pytest.param("builder.getOrCreate()", id="method"),
    ],
)
def test_a_session_is_found_in(source: str) -> None:
    assert not {"SparkSession", "getOrCreate"}.isdisjoint(names_in(ast.parse(source)))


@pytest.mark.parametrize("name", FOLDERS)
def test_every_folder_of_declarations_is_looked_at(name: str) -> None:
    assert [file for file in MODULES if file.is_relative_to(PACKAGE / name) and file.name != "__init__.py"]


def names_in(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
                yield name.rpartition(".")[2]
