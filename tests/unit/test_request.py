"""The request of a step: a plain value, and the name that it gives to its staged write."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from affirm_assets.declare.partitions import Window
from affirm_assets.steps.request import Request, Run
from resources.landing import LandingFile

FILE = LandingFile("loans", date(2025, 1, 2), "loans/2025-01-02/part-0.jsonl", 120, "ab" * 32)
REQUEST = Request(
    dataset="loans/loans",
    window=Window(date(2025, 1, 2), date(2025, 1, 2)),
    run=Run(run_id="first-try", root_run_id="first-try"),
    code_version="0123456789ab",
    base=41,
    inputs={"loan_rows": 8_910_111_213_141_516_171, "rates": None},
    files=(FILE,),
)


class TestJson:
    @pytest.mark.parametrize(
        "changes",
        [
            pytest.param({}, id="one day"),
            pytest.param({"window": Window(date(2024, 12, 31), date(2025, 1, 2))}, id="range"),
            pytest.param({"window": None}, id="no window"),
            pytest.param({"base": None}, id="nothing published yet"),
            pytest.param({"inputs": {}, "files": ()}, id="reads nothing"),
            pytest.param({"files": (FILE, replace(FILE, name="größe.csv"))}, id="several files"),
        ],
    )
    def test_round_trip(self, changes: dict[str, Any]) -> None:
        request = replace(REQUEST, **changes)
        assert Request.from_json(request.to_json()) == request

    def test_is_one_line_without_blanks_between_values(self) -> None:
        assert REQUEST.to_json().split() == [REQUEST.to_json()]

    def test_does_not_depend_on_the_order_of_the_inputs(self) -> None:
        backwards = dict(reversed(REQUEST.inputs.items()))
        assert replace(REQUEST, inputs=backwards).to_json() == REQUEST.to_json()


class TestWindowText:
    @pytest.mark.parametrize(
        ("window", "expected"),
        [
            pytest.param(Window(date(2025, 1, 2), date(2025, 1, 2)), "2025-01-02", id="one day"),
            pytest.param(Window(date(2025, 1, 2), date(2025, 1, 5)), "2025-01-02...2025-01-05", id="range"),
            pytest.param(None, "all", id="unpartitioned"),
        ],
    )
    def test_window_as_text(self, window: Window | None, expected: str) -> None:
        assert replace(REQUEST, window=window).window_text == expected


class TestWapId:
    def test_tells_run_dataset_and_window(self) -> None:
        assert REQUEST.wap_id.startswith("first-try/loans/loans/2025-01-02/")

    @pytest.mark.parametrize(
        "changes",
        [
            pytest.param({"run": Run(run_id="second-try", root_run_id="first-try")}, id="retry of the same root run"),
            pytest.param({"base": 42}, id="table changed meanwhile"),
            pytest.param({"base": None}, id="table not there"),
            pytest.param({"inputs": dict(reversed(REQUEST.inputs.items()))}, id="inputs in another order"),
        ],
    )
    def test_is_the_same_for_another_try_of_the_same_work(self, changes: dict[str, Any]) -> None:
        assert replace(REQUEST, **changes).wap_id == REQUEST.wap_id

    @pytest.mark.parametrize(
        "changes",
        [
            pytest.param({"run": Run(run_id="first-try", root_run_id="another")}, id="root run"),
            pytest.param({"dataset": "loans/borrowers"}, id="dataset"),
            pytest.param({"window": Window(date(2025, 1, 2), date(2025, 1, 3))}, id="window"),
            pytest.param({"window": None}, id="no window"),
            pytest.param({"code_version": "ba9876543210"}, id="code version"),
            pytest.param({"inputs": {**REQUEST.inputs, "loan_rows": 1}}, id="snapshot of an input"),
            pytest.param({"inputs": {"loan_rows": REQUEST.inputs["loan_rows"]}}, id="one input fewer"),
            pytest.param({"files": (replace(FILE, sha256="cd" * 32),)}, id="contents of a file"),
            pytest.param({"files": (replace(FILE, name="loans/2025-01-02/part-1.jsonl"),)}, id="name of a file"),
            pytest.param({"files": (FILE, FILE)}, id="one file more"),
            pytest.param({"files": ()}, id="no files"),
        ],
    )
    def test_differs_with_what_the_result_depends_on(self, changes: dict[str, Any]) -> None:
        assert replace(REQUEST, **changes).wap_id != REQUEST.wap_id

    def test_survives_json(self) -> None:
        assert Request.from_json(REQUEST.to_json()).wap_id == REQUEST.wap_id
