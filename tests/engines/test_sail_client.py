"""Sail's client: what it asks the server, and what becomes of an answer that cannot be read. A real server."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from pyspark.errors import PySparkException
from pyspark.sql import Row, SparkSession

from resources.sail import SailSessions


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


class Unread(grpc.RpcError):
    """What gRPC raises for an answer that arrived and could not be read."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.INTERNAL

    def details(self) -> str:
        return "Exception deserializing response!"

    def trailing_metadata(self) -> tuple[()]:
        return ()

    __str__ = details


class TestAnswersThatCannotBeRead:
    """Each question's first answer arrives, and is not read."""

    @pytest.fixture
    def asked(self, spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The questions, in their order."""
        stub, asked = cast(Any, spark).client._stub, []

        def first_unread(name: str, answer: Callable[..., Any], *args: Any, **named: Any) -> Any:
            answered = answer(*args, **named)
            asked.append(name)
            if asked.count(name) > 1:
                return answered
            if name == "ExecutePlan":
                list(answered)
            raise Unread

        for name in ("Config", "AnalyzePlan", "ExecutePlan"):
            monkeypatch.setattr(stub, name, partial(first_unread, name, getattr(stub, name)))
        return asked

    def test_a_question_that_changes_nothing_is_asked_once_more_and_the_log_says_so(
        self, spark: SparkSession, asked: list[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        assert spark.range(3).selectExpr("sum(id) s").collect() == [Row(s=3)]
        assert spark.range(3).columns == ["id"]
        assert {name: asked.count(name) for name in asked} == {"Config": 2, "AnalyzePlan": 2, "ExecutePlan": 2}
        assert [each.message for each in caplog.records if each.name == "resources.sail"] == [
            "sail: an answer arrived that could not be read; asked once more."
        ] * 3

    def test_what_writes_is_not_done_twice(self, spark: SparkSession, asked: list[str], tmp_path: Path) -> None:
        with pytest.raises(PySparkException, match="Exception deserializing response!"):
            spark.range(3).mapInArrow(lambda batches: batches, "id long").collect()
        assert asked.count("ExecutePlan") == 1
        asked.clear()
        with pytest.raises(PySparkException, match="Exception deserializing response!"):
            spark.range(3).write.parquet(str(tmp_path / "written"))
        assert asked.count("ExecutePlan") == 1

    def test_another_error_is_raised_at_once(self, spark: SparkSession) -> None:
        with pytest.raises(PySparkException, match="no_such"):
            spark.sql("SELECT * FROM no_such").collect()
