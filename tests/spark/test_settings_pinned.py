"""A spark-defaults.conf and a variables for another project's Spark do not change what steps compute."""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyspark
import pytest
from pyspark.sql import DataFrame, SparkSession

from affirm_assets.declare.partitions import Daily
from affirm_assets.steps.publish import read_report
from affirm_assets.steps.published import record_of
from affirm_assets.steps.request import RESULT_SETTINGS
from resources.spark import SparkSessions, local_sessions
from tests.conftest import declare
from tests.steps.amounts import D1, Amount, frame, one
from tests.storage import NewStorage, Steps

DEFAULTS = """
spark.sql.ansi.enabled false
spark.sql.ansi.doubleQuotedIdentifiers true
spark.sql.session.timeZone America/New_York
spark.sql.decimalOperations.allowPrecisionLoss false
spark.sql.caseSensitive true
spark.sql.legacy.timeParserPolicy LEGACY
spark.sql.storeAssignmentPolicy LEGACY
spark.sql.legacy.sizeOfNull true
spark.sql.timestampType TIMESTAMP_NTZ
spark.sql.groupByAliases false
spark.sql.parser.quotedRegexColumnNames true
spark.sql.parser.escapedStringLiterals true
spark.sql.jsonGenerator.ignoreNullFields false
spark.sql.mapKeyDedupPolicy LAST_WIN
spark.sql.sources.partitionOverwriteMode dynamic
spark.sql.ansi.enforceReservedKeywords true
spark.sql.ansi.relationPrecedence true
spark.sql.groupByOrdinal false
spark.sql.orderByOrdinal false
spark.sql.lateralColumnAlias.enableImplicitResolution false
spark.sql.variable.substitute false
spark.sql.selfJoinAutoResolveAmbiguity false
spark.sql.analyzer.failAmbiguousSelfJoin false
spark.sql.crossJoin.enabled false
spark.sql.retainGroupColumns false
spark.sql.timeTravelVersionKey asOf
spark.sql.timeTravelTimestampKey asOfTime
spark.sql.function.concatBinaryAsString true
spark.sql.function.eltOutputAsString true
spark.sql.chunkBase64String.enabled false
spark.sql.icu.caseMappings.enabled false
spark.sql.pyspark.inferNestedDictAsStruct.enabled true
spark.sql.execution.arrow.pyspark.enabled true
spark.sql.execution.pythonUDF.arrow.enabled true
spark.sql.execution.pandas.convertToArrowArraySafely false
spark.sql.files.ignoreMissingFiles true
spark.sql.files.ignoreCorruptFiles true
spark.wap.branch audit
spark.wap.id theirs
spark.comet.expression.Cast.allowIncompatible true
"""

FORGOTTEN = ["spark.wap.branch", "spark.wap.id", "spark.comet.expression.Cast.allowIncompatible"]

CONNECT = {"SPARK_REMOTE": "sc://gone:15002", "SPARK_CONNECT_MODE_ENABLED": "1", "SPARK_API_MODE": "connect"}

RAISES = {
    "an overflow": "SELECT 9223372036854775807L + id FROM range(1, 2)",
    "a sum that overflows": "SELECT sum(9223372036854775807L) FROM range(2)",
    "a text that is no number": "SELECT CAST(concat('x', id) AS INT) FROM range(1)",
    "a division by zero": "SELECT 1 / id FROM range(1)",
    "a day that is not": "SELECT to_date('2025-02-30', 'yyyy-MM-dd')",
    "a key twice": "SELECT map(id, 1, id, 2) FROM range(1)",
}
GIVES = {
    "the time zone": ("SELECT hour(timestamp '2025-01-01T00:00:00Z') || current_timezone()", "0UTC"),
    "names": ("SELECT A FROM (SELECT 1 AS a)", "1"),
    "places of a decimal": (
        "SELECT typeof(CAST(1 AS DECIMAL(38,10)) * CAST(1 AS DECIMAL(38,10)))",
        "decimal(38,6)",
    ),
    "no size": ("SELECT size(CAST(NULL AS ARRAY<INT>))", "None"),
    "a text in double quotes": ('SELECT "a"', "a"),
    "a backslash in a text": (r"SELECT concat('L1\\z', 'L1' RLIKE '^L1\\z')", r"L1\ztrue"),
    "a null in JSON": ("SELECT to_json(named_struct('a', CAST(NULL AS INT), 'b', 1))", '{"b":1}'),
    "a position to group by": ("SELECT count(*) FROM (SELECT id % 2 AS a, count(*) FROM range(4) GROUP BY 1)", "2"),
    "a position to order by": ("SELECT id FROM range(3) ORDER BY 1 DESC", "2"),
    "an alias beside it": ("SELECT a + 1 FROM (SELECT id AS x, x + 1 AS a FROM range(1))", "2"),
    "a word of SQL as a name": ("SELECT end FROM (SELECT 1 AS end)", "1"),
    "bytes put together": ("SELECT typeof(concat(X'61', X'62'))", "binary"),
    "one of bytes": ("SELECT typeof(elt(1, X'61', X'62'))", "binary"),
    "lines of base64": ("SELECT length(base64(CAST(repeat('a', 90) AS BINARY)))", "122"),
    "a timestamp's type": ("SELECT typeof(timestamp '2025-01-01')", "timestamp"),
}

SCRIPT = """
    import json, logging, sys
    from datetime import datetime
    logging.basicConfig(level=logging.WARNING, format="LOGGED %(message)s")
    from affirm_assets.steps.request import RESULT_SETTINGS
    from resources.spark import local_sessions
    raises, gives = json.loads(sys.argv[1])
    session = local_sessions("512m").session(RESULT_SETTINGS)
    noon = session.createDataFrame([(datetime(2025, 1, 1, 12),)], "at timestamp")
    def found(query):
        try:
            return str(session.sql(query).first()[0])
        except Exception as error:
            return type(error).__name__
    print("FOUND", json.dumps({
        "settings": {name: session.conf.get(name) for name in RESULT_SETTINGS},
        "legacy": [name for name in session.conf.getAll if name.startswith("spark.sql.legacy.")],
        "forgotten": [session.conf.get(name, None) for name in json.loads(sys.argv[2])],
        "noon": noon.selectExpr("CAST(at AS string)").first()[0],
        "grouped": session.range(1).groupBy("id").count().columns,
        "answers": {name: found(query) for name, query in [*raises.items(), *gives.items()]},
        "version": session.version,
    }))
"""


@pytest.fixture(scope="module")
def another_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What SPARK_HOME names: another Spark."""
    home = tmp_path_factory.mktemp("home") / "spark"
    submit = home / "bin" / "spark-submit"
    submit.parent.mkdir(parents=True)
    submit.write_text(f"#!/bin/sh\ntouch {home}/was-started\nexit 1\n")
    submit.chmod(0o755)
    return home


@pytest.fixture(scope="module")
def process(
    sessions: SparkSessions, another_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> subprocess.CompletedProcess[str]:
    """A process of its own, since the settings of a JVM are read as it starts."""
    conf = tmp_path_factory.mktemp("conf")
    (conf / "spark-defaults.conf").write_text(DEFAULTS)
    theirs = {"SPARK_CONF_DIR": str(conf), "SPARK_HOME": str(another_home), "TZ": "Asia/Tokyo"}
    environ = {**os.environ, **theirs, **CONNECT}
    queries = json.dumps([RAISES, {name: query for name, (query, _) in GIVES.items()}])
    forgotten = json.dumps(FORGOTTEN)
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), queries, forgotten],
        env=environ,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )


@pytest.fixture(scope="module")
def found(process: subprocess.CompletedProcess[str]) -> Mapping[str, Any]:
    answer: dict[str, Any] = json.loads(process.stdout.rpartition("FOUND ")[2])
    return answer


def test_settings_of_the_user_s_defaults_are_not_those_of_a_step(found: Mapping[str, Any]) -> None:
    assert found["settings"] == dict(RESULT_SETTINGS)
    assert found["legacy"] == [name for name in RESULT_SETTINGS if name.startswith("spark.sql.legacy.")]
    assert found["forgotten"] == [None] * len(FORGOTTEN)
    assert found["grouped"] == ["id", "count"]


def test_a_datetime_without_a_zone_is_utc_whatever_the_machines_zone(found: Mapping[str, Any]) -> None:
    assert found["noon"] == "2025-01-01 12:00:00"


def test_queries_give_what_they_give_everywhere(found: Mapping[str, Any]) -> None:
    answers = found["answers"]
    not_raised = {name: answers[name] for name in RAISES if not answers[name].endswith("Exception")}
    assert not_raised == {}
    assert {name: answers[name] for name in GIVES} == {name: expected for name, (_, expected) in GIVES.items()}


def test_the_defaults_change_what_is_not_pinned(found: Mapping[str, Any]) -> None:
    """Or these tests would prove nothing."""
    named = {line.split()[0] for line in DEFAULTS.strip().splitlines()}
    assert named - set(RESULT_SETTINGS) == {"spark.sql.legacy.sizeOfNull", *FORGOTTEN}
    assert set(RESULT_SETTINGS) <= named


def test_our_own_spark_is_started_and_the_other_one_is_named(
    process: subprocess.CompletedProcess[str], found: Mapping[str, Any], another_home: Path
) -> None:
    assert found["version"] == pyspark.__version__
    ours = Path(pyspark.__file__).parent
    for name, value in {"SPARK_HOME": another_home, **CONNECT}.items():
        logged = f"LOGGED {name}={value} is not used: this project starts its own Spark, {ours}."
        assert logged in process.stderr.splitlines()
    assert not (another_home / "was-started").exists()


def test_a_home_that_is_gone_is_not_used_either(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setenv("SPARK_HOME", f"{tmp_path}/gone")
    local_sessions("512m")
    ours = str(Path(pyspark.__file__).parent)
    assert os.environ["SPARK_HOME"] == ours
    assert f"SPARK_HOME={tmp_path}/gone is not used: this project starts its own Spark, {ours}." in caplog.messages


def test_the_settings_of_a_step_are_in_its_request_and_its_report(steps: Steps, new_storage: NewStorage) -> None:
    of_session: dict[str, str | None] = {}

    def amounts() -> DataFrame:
        conf = SparkSession.active().conf
        of_session.update({name: conf.get(name) for name in RESULT_SETTINGS})
        return frame(("a", D1, "1.00"))

    dataset = declare(amounts, Amount, Daily("day"))
    result = steps.run(dataset, one(D1))
    assert of_session == dict(RESULT_SETTINGS)
    assert result.request.settings == of_session
    table = new_storage().catalog.load_table(dataset.table)
    (publication,) = record_of(dataset, table).recent
    report = read_report(table, publication)
    assert report is not None
    assert report.request.settings == of_session
