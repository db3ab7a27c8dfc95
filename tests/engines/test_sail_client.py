"""Sail's client: what it asks the server, and what becomes of an answer that cannot be read. A real server."""

import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, cast

import pytest
from google.protobuf.message import DecodeError
from pyspark.errors import PySparkException
from pyspark.sql import Row, SparkSession

from resources import sail
from resources.sail import SailAnswerLost, SailSessions


@pytest.fixture
def spark() -> Iterator[SparkSession]:
    session = SailSessions().open()
    with session.active():
        yield session.spark
    session.close()


def test_a_setting_is_asked_for_once_and_again_after_it_was_changed(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub, asked = cast(Any, spark).client._stub, []
    config = stub.Config
    monkeypatch.setattr(stub, "Config", lambda *args, **named: (asked.append(1), config(*args, **named))[1])
    name = "spark.sql.session.timeZone"
    assert [spark.conf.get(name, "none") for _ in range(3)] == ["UTC"] * 3
    assert len(asked) == 1
    spark.conf.set(name, "Asia/Tokyo")
    assert spark.conf.get(name, "none") == "Asia/Tokyo"


class TestAnswersThatCannotBeDecoded:
    """Each method's first answer arrives damaged."""

    @pytest.fixture
    def asked(self, spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The methods whose answers were damaged."""
        asked: list[str] = []

        def first_damaged(method: str, answer: bytes, decode: Callable[[bytes], Any]) -> Any:
            name = method.rsplit("/", 1)[-1]
            is_first = name not in asked
            asked.append(name)
            return decoded(method, b"\xff" + answer if is_first else answer, decode)

        decoded = sail._decoded
        monkeypatch.setattr(sail, "_decoded", first_damaged)
        return asked

    def test_a_question_that_changes_nothing_is_asked_once_more_and_the_log_says_so(
        self, spark: SparkSession, asked: list[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        assert spark.range(3).selectExpr("sum(id) s").collect() == [Row(s=3)]
        assert spark.range(3).columns == ["id"]
        assert {"Config", "AnalyzePlan", "ExecutePlan"} <= set(asked)
        said = [each.message for each in caplog.records if each.name == "resources.sail"]
        assert [re.sub(r"[\d,]+ bytes", "N bytes", each) for each in said] == [
            f"sail: expected an answer to {method} that can be decoded, found N bytes: "
            f"Error parsing message with type 'spark.connect.{method.removesuffix('Execute')}Response'. Run the step "
            "again. Asked once more."
            for method in dict.fromkeys(asked)
            if method != "ReleaseExecute"
        ]

    def test_what_writes_is_not_done_twice(self, spark: SparkSession, asked: list[str], tmp_path: Path) -> None:
        with pytest.raises(SailAnswerLost, match="expected an answer to ExecutePlan that can be decoded, found"):
            spark.range(3).mapInArrow(lambda batches: batches, "id long").collect()
        asked.clear()
        with pytest.raises(SailAnswerLost, match="expected an answer to ExecutePlan that can be decoded, found"):
            spark.range(3).write.parquet(str(tmp_path / "written"))
        assert asked.count("ExecutePlan") == 1


def test_an_answer_that_is_decoded_at_the_second_try_is_whole(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails_once(method: str, answer: bytes, decode: Callable[[bytes], Any]) -> Any:
        tries: list[int] = []

        def fails_first(answer: bytes) -> Any:
            tries.append(1)
            if len(tries) == 1:
                raise DecodeError("Error parsing message")
            return decode(answer)

        return decoded(method, answer, fails_first)

    decoded = sail._decoded
    monkeypatch.setattr(sail, "_decoded", fails_once)
    assert spark.range(3).mapInArrow(lambda batches: batches, "id long").count() == 3
    assert "was decoded at the second try" in caplog.text


class TestAnswersWhoseEndIsLost:
    """As gRPC lets a stream of answers end if it cannot decode one: without an error."""

    @pytest.mark.parametrize("arrive", [0, 1, 2])
    def test_no_row_is_lost(self, spark: SparkSession, monkeypatch: pytest.MonkeyPatch, arrive: int) -> None:
        execution, asked = cast(Any, spark).client._stub.ExecutePlan, []

        def cut_once(*args: Any, **named: Any) -> Iterator[Any]:
            asked.append(1)
            answers = execute(*args, **named)
            return islice(answers, arrive) if len(asked) == 1 else answers

        execute = execution._execute
        monkeypatch.setattr(execution, "_execute", cut_once)
        assert len(spark.range(10_000).collect()) == 10_000
        assert len(asked) == 2

    def test_of_what_writes_it_is_an_error(self, spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
        execution = cast(Any, spark).client._stub.ExecutePlan
        execute = execution._execute
        monkeypatch.setattr(execution, "_execute", lambda *args, **named: islice(execute(*args, **named), 2))
        with pytest.raises(SailAnswerLost, match="found an end without it: rows may be missing"):
            spark.range(10_000).mapInArrow(lambda batches: batches, "id long").collect()


class TestErrors:
    def test_another_error_is_raised_at_once(self, spark: SparkSession) -> None:
        with pytest.raises(PySparkException, match="no_such"):
            spark.sql("SELECT * FROM no_such").collect()
