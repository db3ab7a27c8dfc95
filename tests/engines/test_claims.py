"""Whatever plans may use on Sail is in a plan that the suite compares with Spark, as the check finds it there.

Of the functions, tests/engines/test_cases.py asks for each line of the list.
"""

from collections.abc import Iterable, Mapping
from itertools import product

import pytest

from affirm_assets.engines.sail import checker, plan, proven
from affirm_assets.engines.sail.plan import Type
from tests.engines.connect import CheckedSail, connect_functions
from tests.engines.used import Used, used_by_cases

OF_EACH: Mapping[str, Type] = {
    each.name: each
    for each in (
        *(plan.BOOLEAN, plan.STRING, plan.DATE, plan.TIMESTAMP, plan.DOUBLE, plan.VOID, plan.decimal(18, 2)),
        *(plan.TINYINT, plan.SMALLINT, plan.INT, plan.BIGINT),
        *(plan.array(plan.BIGINT), plan.struct([("each", plan.BIGINT)])),
    )
}
"""A type of each name."""

FITTING: Mapping[str, Iterable[str]] = {
    **{name: (name,) for name in ("decimal", "int", "string", "date", "boolean", "array")},
    "T": proven.COMPARABLE,
    "any": proven.READABLE,
    "element": proven.READABLE - {"void"},
    "ordered": proven.COMPARABLE | {"struct"},
    "hashed": [name for name, each in OF_EACH.items() if proven.is_hashed(each)],
    "integer": plan.INTEGERS,
}
"""By what a line of the list says of an argument: the types that it may be of. Of literals and lambdas it says all."""

TEXTS = ("1", "2025-01-31")
PATTERNS = (r"^-?[0-9]{1,9}\z", r"^[0-9]{4}-[0-9]{2}-[0-9]{2}\z")


@pytest.fixture(scope="module")
def used(sail_server: CheckedSail, tmp_path_factory: pytest.TempPathFactory) -> Used:
    with connect_functions():
        return used_by_cases(sail_server, tmp_path_factory.mktemp("frames"))


def test_there_is_a_type_of_each_name() -> None:
    assert set(OF_EACH) == proven.READABLE


def test_types(used: Used) -> None:
    assert proven.READABLE - used.types == set()


def test_operators(used: Used) -> None:
    assert set(checker._OPERATORS) - used.operators == set()


def test_joins(used: Used) -> None:
    kinds = set(checker._JOINS.values()) - {"cross"}
    claimed = {*product(kinds, ("names", "a condition")), ("inner", "nothing"), ("cross", "nothing")}
    assert claimed - used.joins == set()


def test_keys(used: Used) -> None:
    """What is grouped by, joined by, made distinct and ordered by."""
    claimed = product(("aggregate", "join", "deduplicate", "sort"), proven.COMPARABLE)
    assert {*claimed} - used.as_keys == set()


def test_casts(used: Used) -> None:
    claimed = {
        (source, target, is_try)
        for source, target, is_try in product(OF_EACH, OF_EACH, (False, True))
        if source != target and proven.can_cast(OF_EACH[source], OF_EACH[target], is_try)
    }
    claimed |= {("decimal", "decimal", False), ("array", "array", False)}
    for target, is_try in product(OF_EACH, (False, True)):
        if any(proven.is_plain_text(each, OF_EACH[target]) for each in TEXTS):
            claimed.add(("written text", target, is_try))
        if any(proven.is_text_of(each, OF_EACH[target]) for each in PATTERNS):
            claimed.add(("guarded text", target, is_try))
    assert claimed - used.casts == set()


def _claimed_of(line: proven.Proven) -> set[tuple[str, int, str]]:
    if line.name == "named_struct":  # names and values by turns
        return {(line.name, 1, each) for each in proven.READABLE}
    patterns = line.arguments.split()
    return {
        (line.name, place, each)
        for place, pattern in enumerate(patterns)
        if pattern.rstrip("*") not in patterns[:place]  # what comes again is tried where it comes first
        for each in FITTING.get(pattern.rstrip("*"), ())
    }


@pytest.mark.parametrize("line", proven.LIST, ids=lambda line: f"{line.name} {line.arguments}")
def test_arguments(line: proven.Proven, used: Used) -> None:
    assert _claimed_of(line) - used.arguments == set()


def test_windows(used: Used) -> None:
    claimed = {*product(proven.OVER_WINDOWS - {"row_number"}, (True, False)), ("row_number", True)}
    assert claimed - used.over == set()


def test_other_names_of_functions(used: Used) -> None:
    assert set(proven.SYNONYMS) - used.functions == set()


def test_generators(used: Used) -> None:
    assert set(proven.GENERATORS) - used.generators == set()
