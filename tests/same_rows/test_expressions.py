"""Each line of the list of what is proven, on both engines: same values, same types, and an error where Spark has one.

Sail runs as a step runs it: each plan is checked, and mended, before it is sent. What Sail by itself does otherwise is
tried too: a version that changes any of it, for the better too, is noticed here. Spark with native operators does all
of it as Spark does.
"""

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from resources.sail import sail_problem
from resources.spark import java_problem
from tests.engines.cases import cases, differences, queries
from tests.engines.evaluate import RAISES, Found, read_found, write_frames
from tests.engines.test_cases import LINES

ONLY_SAIL_RAISES: Mapping[str, str] = {}
"""Lines for some of whose values Sail raises where Spark does not: no row is wrong, and the error is seen."""


_SECONDS = 3_000
"""For all cases on one engine: it takes a minute, but CI runs this suite at the lowest priority, beside others."""


class Engines(NamedTuple):
    spark: Mapping[str, Mapping[str, Found]]
    sail: Mapping[str, Mapping[str, Found]]
    native: Mapping[str, Mapping[str, Found]]


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Engines:
    if problem := java_problem() or sail_problem():
        pytest.skip(problem)
    folder = tmp_path_factory.mktemp("engines")
    write_frames(folder)
    for engine in Engines._fields:
        command = [sys.executable, "-m", "tests.engines.evaluate", engine, str(folder)]
        run = subprocess.run(
            command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
        assert run.returncode == 0, run.stderr[-3000:]
    return Engines(*(read_found(folder, engine) for engine in Engines._fields))


def otherwise(spark: Found, sail: Found) -> list[str]:
    """How Sail (or Spark with native operators) differs from Spark: empty if it does not.

    `only Sail raises` apart, a row differs silently.
    """
    if sail.is_refused:
        return [f"refused: {sail.error}"]
    found = []
    if sail.type and sail.type != spark.type:
        found.append(f"type: {spark.type} on Spark, {sail.type} on Sail")
    rows = [i for i, value in sail.rows.items() if spark.rows.get(i, "no row") != value]
    silent = [i for i in rows if sail.rows[i] != RAISES]
    if silent:
        i = silent[0]
        found.append(
            f"{len(silent)} values, as row {i}: {spark.rows.get(i, 'no row')} on Spark, {sail.rows[i]} on Sail"
        )
    if len(silent) < len(rows):
        found.append(f"only Sail raises: {sail.error}")
    if len(sail.rows) < len(spark.rows) and RAISES not in (*sail.rows.values(), *spark.rows.values()):
        found.append(f"{len(spark.rows)} rows on Spark, {len(sail.rows)} on Sail")
    return found


@pytest.mark.parametrize("line", LINES)
def test_line_is_proven(line: str, engines: Engines) -> None:
    of_line = [each.name for each in cases() if each.proves == line]
    wrong = {}
    for name in of_line:
        found = otherwise(engines.spark["cases"][name], engines.sail["cases"][name])
        if line in ONLY_SAIL_RAISES:
            found = [each for each in found if not each.startswith("only Sail raises")]
        if found:
            wrong[name] = found
    assert not wrong


@pytest.mark.parametrize("line", ONLY_SAIL_RAISES)
def test_only_sail_raises(line: str, engines: Engines) -> None:
    found = (
        otherwise(engines.spark["cases"][each.name], engines.sail["cases"][each.name])
        for each in cases()
        if each.proves == line
    )
    assert any(why.startswith("only Sail raises") for each in found for why in each), "not so any more: strike it"


def test_casts_are_proven(engines: Engines) -> None:
    names = [each.name for each in cases() if each.proves == "cast"]
    for others in (engines.sail, engines.native):
        found = {name: otherwise(engines.spark["cases"][name], others["cases"][name]) for name in names}
        assert not {name: why for name, why in found.items() if why}


@pytest.mark.parametrize("name", [each.name for each in queries() if not each.only_sail_raises])
def test_query_gives_the_same_rows(name: str, engines: Engines) -> None:
    assert otherwise(engines.spark["queries"][name], engines.sail["queries"][name]) == []


@pytest.mark.parametrize("name", [each.name for each in queries() if each.only_sail_raises])
def test_query_that_only_sail_raises(name: str, engines: Engines) -> None:
    found = otherwise(engines.spark["queries"][name], engines.sail["queries"][name])
    assert [each.split(":")[0] for each in found] == ["only Sail raises"]


@pytest.mark.parametrize("name", [each.name for each in differences()])
def test_difference_is_there_and_is_refused_or_mended(name: str, engines: Engines) -> None:
    spark, checked = engines.spark["differences"][name], engines.sail["differences"][name]
    raw = engines.sail["raw differences"][name]
    assert otherwise(spark, raw), "Sail and Spark agree now: take it off the differences"
    assert checked.is_refused or otherwise(spark, checked) == []


@pytest.mark.parametrize("name", [each.name for each in queries() if each.differs])
def test_query_that_differs_is_mended(name: str, engines: Engines) -> None:
    assert otherwise(engines.spark["queries"][name], engines.sail["raw queries"][name]), "Sail and Spark agree now"


@pytest.mark.parametrize("line", LINES)
def test_line_gives_the_same_natively(line: str, engines: Engines) -> None:
    names = [each.name for each in cases() if each.proves == line]
    found = {name: otherwise(engines.spark["cases"][name], engines.native["cases"][name]) for name in names}
    assert not {name: why for name, why in found.items() if why}


@pytest.mark.parametrize("group", ["differences", "queries"])
def test_what_tells_engines_apart_is_the_same_natively(group: str, engines: Engines) -> None:
    found = {name: otherwise(of, engines.native[group][name]) for name, of in engines.spark[group].items()}
    wrong = {name: why for name, why in found.items() if why}
    # Days between days are sent by another name of their type, natively or not; the values are the same.
    wrong.pop("difference: date minus date", None)
    assert wrong == {}


def test_much_is_computed_natively(engines: Engines) -> None:
    """Or these tests would prove nothing of it. What has a cast is left to Spark."""
    assert len(engines.native["left to spark"]) < len(cases()) * 2 / 3


def test_many_values_reach_each_case(engines: Engines) -> None:
    """A case that is null or raises everywhere proves nothing."""
    found = engines.spark["cases"]
    empty = [name for name, of in found.items() if not set(of.rows.values()) - {None, RAISES}]
    assert [name for name in empty if not re.search(r"NULL|[/%] \(0(\.00)?\)", name)] == []


def test_compared_with_constants_they_are_the_same_where_nothing_is_null(engines: Engines) -> None:
    assert engines.sail["never null"] == {}
