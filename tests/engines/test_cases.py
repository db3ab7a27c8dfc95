"""The cases of the list of what is proven. That they hold on both engines, tests/same_rows shows."""

from collections import Counter

import pytest

from affirm_assets.engines.sail import proven
from tests.engines.cases import cases, differences, queries

LINES = {f"{each.name} {' '.join(each.arguments.split())}": each for each in (*proven.LIST, *proven.WINDOW_ONLY)}


@pytest.mark.parametrize("line", LINES)
def test_each_line_has_a_case(line: str) -> None:
    of_line = [each.name for each in cases() if each.proves == line]
    assert of_line or any(line in each.proves for each in queries()), "the list claims what no case here proves"


def test_cases_are_of_lines_that_there_are() -> None:
    claimed = {each.proves for each in cases()} | {line for each in queries() for line in each.proves}
    assert claimed - {"cast"} <= set(LINES)


def test_names_are_used_once() -> None:
    names = Counter(each.name for each in (*cases(), *queries(), *differences()))
    assert [name for name, times in names.items() if times > 1] == []
