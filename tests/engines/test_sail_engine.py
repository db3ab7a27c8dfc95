"""The engine sail: real sessions of Sail, real Iceberg tables in folders and on S3. No JVM."""

import errno
import os
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestWriterV2,
    write_manifest_list,
)
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation, Snapshot, Summary
from pyiceberg.table.update import AddSnapshotUpdate, SetSnapshotRefUpdate
from pyiceberg.transforms import BucketTransform, IdentityTransform
from pyiceberg.typedef import Record
from pyiceberg.types import DateType, DecimalType, LongType, NestedField, StringType
from pyspark.errors.exceptions.base import PySparkException, PythonException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from affirm_assets.declare import Window
from affirm_assets.definitions import build_defs
from affirm_assets.engines.sail import SailEngine, stage
from affirm_assets.engines.sail.plain import forget
from affirm_assets.errors import EngineFailed, FilesLost, NotPlain, NotProven, SchemaChangeRefused
from affirm_assets.settings import Settings
from affirm_assets.steps.engine import Days, NullInRequiredColumn, Staged, Target
from affirm_assets.steps.request import RESULT_SETTINGS
from resources.iceberg import IcebergCatalog
from resources.sail import SailSessions
from tests.servers import REGION, S3Server

D1, D2, D3 = date(2025, 1, 1), date(2025, 1, 2), date(2025, 1, 3)
SCHEMA = Schema(
    NestedField(1, "id", StringType(), required=True, doc="Id"),
    NestedField(2, "day", DateType(), required=True, doc="Day"),
    NestedField(3, "amount", DecimalType(18, 2), required=False, doc="Amount"),
    NestedField(4, "n", LongType(), required=False),
)
BY_DAY = PartitionSpec(PartitionField(2, 1000, IdentityTransform(), "day"))
WANTED = T.StructType(
    [
        T.StructField("id", T.StringType(), False, {"comment": "Id"}),
        T.StructField("day", T.DateType(), False, {"comment": "Day"}),
        T.StructField("amount", T.DecimalType(18, 2), True, {"comment": "Amount"}),
        T.StructField("n", T.LongType(), True),
    ]
)
ROWS = [("a", D1, Decimal("1.10"), 1), ("b", D2, None, None), ("c", D2, Decimal("-2.20"), 3), ("d", D3, Decimal(0), 4)]


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    catalog = IcebergCatalog(uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse").load()
    catalog.create_namespace("tests")
    return catalog


def s3_catalog(s3: S3Server, folder: Path) -> Catalog:
    bucket = f"sail-{uuid4().hex}"
    s3.create_bucket(bucket)
    catalog = IcebergCatalog(
        uri=f"sqlite:///{folder}/catalog.db", warehouse=f"s3://{bucket}/lake", region=REGION, s3_endpoint=s3.endpoint
    ).load()
    catalog.create_namespace("tests")
    return catalog


@pytest.fixture
def table(catalog: Catalog) -> Table:
    return catalog.create_table("tests.rows", SCHEMA, partition_spec=BY_DAY, properties={"format-version": "2"})


@pytest.fixture
def engine() -> Iterator[SailEngine]:
    engine = SailEngine(SailSessions().open, "")
    yield engine
    engine.close()


def days(first: date, last: date) -> Days:
    return Days("day", Window(first, last))


def target(table: Table, first: date = D1, last: date = D3) -> Target:
    return Target(table, days(first, last) if table.spec().fields else None, "wap", {})


def frame(engine: SailEngine, rows: list[Any]) -> DataFrame:
    with engine.active():
        return engine.session.createDataFrame(rows, "id string, day date, amount decimal(18,2), n long")


def stage_rows(engine: SailEngine, table: Table, rows: list[Any]) -> Staged:
    return engine.stage(frame(engine, rows), target(table))


def commit(table: Table, staged: Staged) -> Table:
    with table.transaction() as transaction, transaction.update_snapshot().fast_append() as append:
        for file in staged.files:
            append.append_data_file(file)
    return table.catalog.load_table(table.name())


def publish(engine: SailEngine, table: Table, rows: list[Any]) -> Table:
    return commit(table, stage_rows(engine, table, rows))


def read(engine: SailEngine, table: Table, schema: T.StructType = WANTED, of: Days | None = None) -> list[Any]:
    current = table.current_snapshot()
    assert current is not None
    return sorted(map(tuple, engine.read(table, current.snapshot_id, schema, of).collect()))


def files_of(table: Table) -> list[Path]:
    return sorted(Path(table.location().removeprefix("file://")).rglob("*.parquet"))


class Deletes(ManifestWriterV2):
    """PyIceberg reads manifests of deletes, and writes none."""

    def content(self) -> ManifestContent:
        return ManifestContent.DELETES

    @property
    def _meta(self) -> dict[str, str]:
        return {**super()._meta, "content": "deletes"}


def delete_by_equality(table: Table, id: str) -> Table:
    """A commit that deletes the rows of the second day with this id."""
    current = table.current_snapshot()
    assert current is not None
    folder, snapshot = f"{table.location()}/metadata", current.snapshot_id + 1
    rows = pa.table({"id": [id]})
    with table.io.new_output(f"{folder}/deletes.parquet").create() as stream:
        pq.write_table(rows, stream)
    file = DataFile.from_args(
        content=DataFileContent.EQUALITY_DELETES,
        file_path=f"{folder}/deletes.parquet",
        file_format=FileFormat.PARQUET,
        partition=Record((D2 - date(1970, 1, 1)).days),
        record_count=1,
        file_size_in_bytes=len(table.io.new_input(f"{folder}/deletes.parquet")),
        equality_ids=[1],
    )
    file.spec_id = table.spec().spec_id
    output = table.io.new_output(f"{folder}/deletes.avro")
    with Deletes(table.spec(), table.schema(), output, snapshot, "deflate") as manifest:
        manifest.add(ManifestEntry.from_args(status=ManifestEntryStatus.ADDED, snapshot_id=snapshot, data_file=file))
    number = table.metadata.next_sequence_number()
    listed = f"{folder}/snap-deletes.avro"
    with write_manifest_list(2, table.io.new_output(listed), snapshot, current.snapshot_id, number, "deflate") as found:
        found.add_manifests([*current.manifests(table.io), manifest.to_manifest_file()])
    made = Snapshot(
        snapshot_id=snapshot, parent_snapshot_id=current.snapshot_id, sequence_number=number,
        timestamp_ms=current.timestamp_ms + 1, manifest_list=listed, summary=Summary(Operation.DELETE),
        schema_id=table.schema().schema_id,
    )  # fmt: skip
    main = SetSnapshotRefUpdate(ref_name="main", type="branch", snapshot_id=snapshot)
    table.catalog.commit_table(table, (), (AddSnapshotUpdate(snapshot=made), main))
    return table.catalog.load_table(table.name())


class TestSession:
    def test_functions_are_the_sessions_inside_and_what_they_were_outside(self, engine: SailEngine) -> None:
        before = os.environ.get("SPARK_CONNECT_MODE_ENABLED")
        with engine.active():
            assert SparkSession.active() is engine.session
            assert SparkSession.getActiveSession() is engine.session
            assert engine.session.range(3).agg(F.sum("id")).collect()[0][0] == 3
        assert os.environ.get("SPARK_CONNECT_MODE_ENABLED") == before
        assert type(SparkSession.getActiveSession()) is not type(engine.session)

    def test_one_step_inside_another_gets_its_session_back(self, engine: SailEngine) -> None:
        other = SailEngine(SailSessions().open, "")
        with engine.active():
            with other.active():
                assert SparkSession.active() is other.session
            assert SparkSession.active() is engine.session
            assert not engine.owns(other.empty(WANTED))
            assert engine.owns(engine.empty(WANTED))
        other.close()

    def test_settings_that_change_a_result_are_said(self) -> None:
        opened = SailSessions().open()
        assert opened.spark.conf.get("spark.sql.ansi.enabled") == "true"
        assert opened.spark.conf.get("spark.sql.session.timeZone") == "UTC"
        with opened.active(), pytest.raises(Exception, match="'x'"):
            opened.spark.sql("SELECT CAST('x' AS INT)").collect()
        opened.close()

    @pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
    def test_a_datetime_without_a_zone_is_utc_whatever_the_machines_zone(self, zone: str) -> None:
        code = """
            from datetime import datetime
            from resources.sail import SailSessions
            session = SailSessions().open()
            with session.active():
                frame = session.spark.createDataFrame([(datetime(2025, 1, 1, 12),)], "at timestamp")
                print(frame.selectExpr("CAST(at AS string)").first()[0], frame.first()[0])
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "TZ": zone},
        )
        assert (done.stdout, done.stderr) == ("2025-01-01 12:00:00 2025-01-01 12:00:00\n", "")

    def test_a_check_sees_each_plan_before_it_is_executed_and_may_put_another_in_its_place(self) -> None:
        seen = []

        def check(plan: Any) -> Any:
            seen.append(plan.WhichOneof("op_type"))
            if b"forbidden" in plan.SerializeToString():
                raise ValueError("not proven")
            changed = type(plan)()
            changed.CopyFrom(plan)
            if changed.root.HasField("limit"):
                changed.root.limit.limit = 1
            return changed

        opened = SailSessions().open(check)
        with opened.active():
            assert opened.spark.range(5).limit(3).count() == 3  # the limit is not the root here
            assert len(opened.spark.range(5).limit(3).collect()) == 1
            forbidden = opened.spark.range(1).select(F.lit("forbidden").alias("x"))
            actions = [
                forbidden.collect,
                forbidden.count,
                forbidden.toArrow,
                forbidden.toPandas,
                lambda: forbidden.schema,
                lambda: forbidden.write.parquet("/nowhere"),
                lambda: forbidden.createOrReplaceTempView("x"),
                lambda: list(forbidden.toLocalIterator()),
            ]
            for action in actions:
                with pytest.raises(ValueError, match="not proven"):
                    action()
        assert set(seen) == {"root", "command"}
        opened.close()

    @pytest.mark.parametrize("end", ["", "session.close()", "raise SystemExit(3)"])
    def test_a_process_ends_at_once_and_in_silence(self, end: str) -> None:
        code = f"""
            from resources.sail import SailSessions
            session = SailSessions().open()
            with session.active():
                assert session.spark.range(3).count() == 3
            {end}
        """
        environment = {name: value for name, value in os.environ.items() if name != "RUST_LOG"}
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60, env=environment
        )
        assert (done.returncode, done.stdout, done.stderr) == (3 if "Exit" in end else 0, "", "")

    def test_settings_of_the_server_in_the_environment_are_dropped_and_named(self) -> None:
        code = """
            import logging
            logging.basicConfig(format="LOGGED %(message)s")
            from resources.sail import SailSessions
            assert SailSessions().open().spark.range(3).count() == 3
        """
        theirs = {"SAIL_SPARK__ANSI_MODE": "false", "SAIL_MODE": "kubernetes-cluster", "SAIL_OF_OTHERS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, **theirs},
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == (
            "LOGGED SAIL_OF_OTHERS, SAIL_SPARK__ANSI_MODE: taken out of the environment, "
            "this project sets up Sail itself.\n"
        )

    def test_a_forked_child_is_told_so_instead_of_waiting_for_ever(self) -> None:
        code = """
            import os
            from resources.sail import SailForked, SailSessions
            session = SailSessions().open()
            assert session.spark.range(3).count() == 3
            child = os.fork()
            if not child:
                try:
                    SailSessions().open()
                except SailForked:
                    os._exit(0)
                os._exit(1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            assert session.spark.range(3).count() == 3
        """
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr

    def test_an_engine_that_is_not_installed_is_one_line(self) -> None:
        code = """
            import sys
            sys.modules["pysail"] = None
            from resources.sail import SailMissing, SailSessions
            try:
                SailSessions().open()
            except SailMissing as error:
                print(error)
        """
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60)
        assert done.stdout.count("\n") == 1, done.stderr
        assert "sail is not installed" in done.stdout
        assert "pip install" in done.stdout


class TestStage:
    def test_files_hold_the_rows_and_the_engine_says_what_they_add_up_to(
        self, engine: SailEngine, table: Table
    ) -> None:
        staged = stage_rows(engine, table, ROWS)
        assert (staged.rows, staged.sums) == (4, {"amount": Decimal("-1.10")})
        assert table.catalog.load_table(table.name()).current_snapshot() is None
        with engine.active():
            assert sorted(map(tuple, engine.look(staged, target(table), WANTED).collect())) == ROWS
        by_day = {file.partition[0]: file for file in staged.files}
        assert len(staged.files) == 3
        second = by_day[(D2 - date(1970, 1, 1)).days]
        assert (second.record_count, second.null_value_counts[3], second.value_counts[1]) == (2, 1, 2)
        assert (second.lower_bounds[1], second.upper_bounds[1]) == (b"b", b"c")
        assert second.spec_id == table.spec().spec_id

    def test_files_are_as_the_contract_says_and_named_as_ours(self, engine: SailEngine, table: Table) -> None:
        staged = stage_rows(engine, table, ROWS)
        for file, entry in zip(files_of(table), sorted(staged.files, key=lambda each: each.file_path), strict=True):
            parquet = pq.ParquetFile(file)
            columns = [parquet.schema.column(i) for i in range(4)]
            assert [(each.name, each.max_definition_level) for each in columns] == [
                ("id", 0),
                ("day", 0),
                ("amount", 1),
                ("n", 1),
            ]
            ids = [each.metadata[b"PARQUET:field_id"] for each in parquet.schema_arrow]
            assert ids == [b"1", b"2", b"3", b"4"]
            assert parquet.schema_arrow.field("id").type == pa.string()
            assert parquet.metadata.metadata is None, "nothing of Arrow, which each writer holds otherwise"
            assert (file.stat().st_size, file.name[:7]) == (entry.file_size_in_bytes, stage.PREFIX)
            assert entry.split_offsets == [4]
            assert entry.file_path == f"file://{file}"

    @pytest.mark.parametrize(
        ("codec", "small", "large"),
        [(None, "SNAPPY", "ZSTD"), ("zstd", "SNAPPY", "ZSTD"), ("gzip", "GZIP", "GZIP")],
    )
    def test_a_small_file_is_compressed_by_what_is_quick(
        self, engine: SailEngine, table: Table, codec: str | None, small: str, large: str
    ) -> None:
        if codec:
            with table.transaction() as change:
                change.set_properties({"write.parquet.compression-codec": codec})
        with engine.active():
            rows = engine.session.range(0, 1_499, 1, 1).select(
                F.col("id").cast("string").alias("id"),
                F.expr("IF(id < 1000, DATE'2025-01-01', DATE'2025-01-02')").alias("day"),
                F.col("id").cast("decimal(18,2)").alias("amount"),
                F.col("id").alias("n"),
            )
            staged = engine.stage(rows, target(table, D1, D2))
        codecs = {}
        for file in staged.files:
            written = pq.ParquetFile(file.file_path.removeprefix("file://")).metadata
            codecs[file.record_count] = written.row_group(0).column(0).compression
        assert codecs == {499: small, 1_000: large}

    def test_pyiceberg_reads_what_was_staged(self, engine: SailEngine, table: Table) -> None:
        published = publish(engine, table, ROWS)
        assert sorted(tuple(each.values()) for each in published.scan().to_arrow().to_pylist()) == ROWS

    @pytest.mark.parametrize("rows", [[], [("a", D1, Decimal(1), 1)]])
    def test_few_rows_make_few_files(self, engine: SailEngine, table: Table, rows: list[Any]) -> None:
        with engine.active():
            parts = frame(engine, rows).union(frame(engine, [])).union(frame(engine, rows)).repartition(8)
            staged = engine.stage(parts, target(table, D1, D1))
        assert (staged.rows, len(staged.files)) == (2 * len(rows), len(rows))
        assert staged.sums == {"amount": Decimal(2 * len(rows))}

    def test_a_range_has_a_file_for_each_day_however_its_rows_come(self, engine: SailEngine, table: Table) -> None:
        count = 90 * 200
        made = [(str(i), D1 + timedelta(days=i * 7919 % 90), Decimal(i), i) for i in range(count)]
        with engine.active():
            rows = frame(engine, made).repartition(5)
            staged = engine.stage(rows, target(table, D1, D1 + timedelta(days=89)))
            assert engine.look(staged, target(table), WANTED).select("id").distinct().count() == count
        assert [file.record_count for file in staged.files] == [200] * 90
        assert staged.sums == {"amount": Decimal(count * (count - 1) // 2)}

    @pytest.mark.parametrize(
        ("held", "most_open", "window", "files"),
        [
            pytest.param(1_000, 100, 30, 30, id="more rows than are held"),
            pytest.param(1_000, 10, 30, 30, id="more days than can be open"),
            pytest.param(10_000, 10, 2, 30, id="rows of more days than the window has"),
        ],
    )
    def test_a_range_is_written_a_part_at_a_time(
        self,
        engine: SailEngine,
        table: Table,
        monkeypatch: pytest.MonkeyPatch,
        held: int,
        most_open: int,
        window: int,
        files: int,
    ) -> None:
        monkeypatch.setattr(stage, "_ROWS_OF_RANGE", held)
        monkeypatch.setattr(stage, "_MOST_DAYS", most_open)
        count = 30 * 200
        made = [(str(i), D1 + timedelta(days=i * 7 % 30), Decimal(i), i) for i in range(count)]
        with engine.active():
            rows = frame(engine, made)
            parts = rows.mapInArrow(_in_parts, rows.schema)
            staged = engine.stage(parts, target(table, D1, D1 + timedelta(days=window - 1)))
            found = engine.look(staged, target(table), WANTED)
            assert sorted(map(tuple, found.collect())) == sorted(made)
        assert len(staged.files) == files
        assert [file.partition[0] for file in staged.files] == sorted(file.partition[0] for file in staged.files)
        groups = sum(len(file.split_offsets or ()) for file in staged.files)
        assert (groups > files) == (window <= most_open and held < count)

    def test_many_rows_are_several_row_groups(
        self, engine: SailEngine, table: Table, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(stage, "ROWS_IN_GROUP", 10_000)
        with engine.active():
            rows = engine.session.range(0, 50_000, 1, 1).selectExpr(
                "CAST(id AS STRING) AS id", "DATE'2025-01-01' AS day", "CAST(id AS DECIMAL(18,2)) AS amount", "id AS n"
            )
            staged = engine.stage(rows, target(table, D1, D1))
        assert sum(file.record_count for file in staged.files) == 50_000
        assert sum(len(file.split_offsets or ()) for file in staged.files) >= 4
        published = commit(table, staged)
        assert published.scan(row_filter="n >= 49999").to_arrow().num_rows == 1

    def test_a_file_has_bounds_only_of_columns_of_which_all_values_are_within(
        self, engine: SailEngine, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The footer has none of a row group with a text that is long, nor of one of nulls."""
        monkeypatch.setattr(stage, "_ROWS_OF_RANGE", 2)
        schema = Schema(*SCHEMA.fields, NestedField(5, "note", StringType(), required=False))
        table = catalog.create_table("tests.notes", schema, partition_spec=BY_DAY)
        notes = ["A1", "A5", "B1", "x" * 5_000]
        made = [(f"id{i}", D1, None if i < 2 else Decimal(i), i, note) for i, note in enumerate(notes)]
        with engine.active():
            frame = engine.session.createDataFrame(
                made, "id string, day date, amount decimal(18,2), n long, note string"
            )
            (file,) = engine.stage(frame.coalesce(1).mapInArrow(_by_twos, frame.schema), target(table)).files
        assert len(file.split_offsets or ()) == 2
        assert (file.lower_bounds.keys(), file.upper_bounds.keys()) == ({1, 2, 3, 4}, {1, 2, 3, 4})
        assert (file.lower_bounds[1], file.upper_bounds[1]) == (b"id0", b"id3")
        assert (file.lower_bounds[3], file.upper_bounds[3]) == (b"\x00\xc8", b"\x01\x2c")
        assert (file.null_value_counts[5], file.value_counts[5]) == (0, 4)

    @pytest.mark.parametrize("last", [D1, D3], ids=["of a day", "of a range"])
    def test_a_file_has_so_many_row_groups_and_a_writer_that_is_done_is_forgotten(
        self, engine: SailEngine, table: Table, monkeypatch: pytest.MonkeyPatch, last: date
    ) -> None:
        """Each writer holds what it knows of all its row groups, until it is forgotten."""
        monkeypatch.setattr(stage, "ROWS_IN_GROUP", 2)
        monkeypatch.setattr(stage, "_ROWS_OF_RANGE", 2)
        monkeypatch.setattr(stage, "_MOST_GROUPS", 3)
        monkeypatch.setattr(stage, "_WRITERS", 1)
        close, done, held = stage._Writer.close, [], []

        def closed(writer: Any) -> Any:
            held.append([each() for each in done if each()])
            done.append(weakref.ref(writer))
            return close(writer)

        monkeypatch.setattr(stage._Writer, "close", closed)
        of_days = [D1] if last == D1 else [D1, D2]
        made = [(str(i), day, Decimal(i), i) for day in of_days for i in range(16)]
        with engine.active():
            rows = frame(engine, made)
            parts = rows.coalesce(1).mapInArrow(_by_twos, rows.schema)
            staged = engine.stage(parts, target(table, D1, last))
            found = engine.look(staged, target(table), WANTED)
            assert sorted(map(tuple, found.collect())) == sorted(made)
        assert [len(file.split_offsets or ()) for file in staged.files] == [3, 3, 2] * len(of_days)
        assert held == [[]] * len(staged.files)

    def test_a_null_in_a_required_column_leaves_nothing(self, engine: SailEngine, table: Table) -> None:
        with pytest.raises(NullInRequiredColumn, match="id"):
            stage_rows(engine, table, [*ROWS, (None, D3, None, 5)])
        assert files_of(table) == []

    def test_an_error_of_a_transform_is_raised_and_leaves_nothing(self, engine: SailEngine, table: Table) -> None:
        def fail(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            yield from batches
            raise ValueError("a rule was broken")

        with engine.active():
            rows = frame(engine, ROWS)
            with pytest.raises(Exception, match="a rule was broken"):
                engine.stage(rows.mapInArrow(fail, rows.schema), target(table))
        assert files_of(table) == []

    @pytest.mark.parametrize("last", [D1, D3], ids=["of a day", "of a range"])
    def test_an_error_leaves_nothing_on_a_bucket(
        self, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: date
    ) -> None:
        """It stores a file when its stream is closed: at the latest when that is forgotten. Here, the test does it."""
        monkeypatch.setattr(stage, "ROWS_IN_GROUP", 2)
        monkeypatch.setattr(stage, "_ROWS_OF_RANGE", 2)
        table = s3_catalog(s3, tmp_path).create_table("tests.rows", SCHEMA, partition_spec=BY_DAY)
        open_writer, writers = stage._Writer.__init__, {}

        def opened(writer: Any, layout: Any, path: str, rows: int) -> None:
            writers[path] = writer
            open_writer(writer, layout, path, rows)

        monkeypatch.setattr(stage._Writer, "__init__", opened)

        engine = SailEngine(SailSessions(s3_endpoint=s3.endpoint, region=REGION).open, "")
        with engine.active():
            rows = frame(engine, [(each, D1, None, 1) for each in ("a", "b", "c", None)]).coalesce(1)
            with pytest.raises(NullInRequiredColumn):
                engine.stage(rows.mapInArrow(_by_twos, rows.schema), target(table, D1, last))
        engine.close()
        for writer in writers.values():
            writer._writer.close()
            writer._stream.close()
        assert writers
        assert [path for path in writers if table.io.new_input(path).exists()] == []

    def test_a_task_that_goes_on_after_an_error_leaves_nothing(self, table: Table) -> None:
        write = stage._Write(stage._layout(table), (), 1)
        path, writer = write.open(D1, 1)
        write.abandon()
        with pytest.raises(ValueError, match="closed"):
            write.close(D1, path, writer)
        with pytest.raises(RuntimeError, match="the write failed"):
            write.open(D1, 1)
        assert files_of(table) == []

    def test_a_full_disk_leaves_nothing_that_readers_see(
        self, engine: SailEngine, table: Table, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A limit on the size of files stands for the disk, in a process of its own."""
        published = publish(engine, table, ROWS)
        code = f"""
            import resource, signal
            from pyiceberg.catalog.sql import SqlCatalog
            from affirm_assets.declare import Window
            from affirm_assets.engines.sail import SailEngine
            from affirm_assets.steps.engine import Days, Target
            from resources.sail import SailSessions
            from datetime import date
            table = SqlCatalog("lake", **{dict(published.catalog.properties)!r}).load_table("tests.rows")
            engine = SailEngine(SailSessions().open, "")
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
            with engine.active():
                rows = engine.session.range(100_000).selectExpr(
                    "sha2(CAST(id AS STRING), 256) AS id", "DATE'2025-01-02' AS day",
                    "CAST(id AS DECIMAL(18,2)) AS amount", "id AS n")
                day = date(2025, 1, 2)
                engine.stage(rows, Target(table, Days("day", Window(day, day)), "wap", {{}}))
        """
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert "File too large" in done.stderr
        assert read(engine, published.catalog.load_table("tests.rows")) == ROWS
        assert len(files_of(table)) == 3

    def test_a_table_that_is_written_in_another_way_is_for_spark(self, engine: SailEngine, catalog: Catalog) -> None:
        by_id = PartitionSpec(PartitionField(1, 1000, BucketTransform(4), "id_bucket"))
        orc = catalog.create_table("tests.orc", SCHEMA, properties={"write.format.default": "orc"})
        for table, reason in (
            (catalog.create_table("tests.by_id", SCHEMA, partition_spec=by_id), "not partitioned by one date"),
            (orc, "are to be orc"),
        ):
            with pytest.raises(NotPlain, match=reason):
                stage_rows(engine, table, ROWS)

    @pytest.mark.parametrize(
        ("name", "value", "said"),
        [
            ("write.parquet.compression-codec", "lzo", "compression-codec=lzo"),
            ("write.parquet.compression-level", "high", "compression-level=high"),
            ("write.metadata.metrics.default", "truncate(0)", "Truncation length"),
        ],
    )
    def test_what_a_table_asks_of_its_writer_and_nobody_here_knows_is_for_spark(
        self, engine: SailEngine, table: Table, name: str, value: str, said: str
    ) -> None:
        with table.transaction() as change:
            change.set_properties({name: value})
        with pytest.raises(NotPlain, match=said):
            stage_rows(engine, table, ROWS)
        assert not files_of(table)

    @pytest.mark.parametrize(
        ("codec", "level", "found"),
        [
            ("uncompressed", "null", "UNCOMPRESSED"),
            ("snappy", "3", "SNAPPY"),
            ("GZIP", "9", "GZIP"),
            ("zstd", "1", "ZSTD"),
        ],
    )
    def test_codecs_and_levels_are_iceberg_s(
        self, engine: SailEngine, table: Table, codec: str, level: str, found: str
    ) -> None:
        with table.transaction() as change:
            change.set_properties({"write.parquet.compression-codec": codec, "write.parquet.compression-level": level})
        stage_rows(engine, table, ROWS)
        for file in files_of(table):
            assert pq.ParquetFile(file).metadata.row_group(0).column(0).compression == found

    def test_a_table_without_partitions_or_amounts(self, engine: SailEngine, catalog: Catalog) -> None:
        table = catalog.create_table("tests.ids", Schema(SCHEMA.fields[0]))
        with engine.active():
            staged = engine.stage(frame(engine, ROWS).select("id"), target(table))
        assert (staged.rows, staged.sums, [file.record_count for file in staged.files]) == (4, {}, [4])
        assert commit(table, staged).scan().to_arrow().num_rows == 4


class TestRead:
    def test_gives_the_rows_of_the_days(self, engine: SailEngine, table: Table) -> None:
        published = publish(engine, table, ROWS)
        assert read(engine, published) == ROWS
        assert read(engine, published, of=days(D2, D2)) == ROWS[1:3]
        assert read(engine, published, of=days(date.min, D2)) == ROWS[:3]
        assert read(engine, published, of=days(D3, date.max)) == ROWS[3:]
        assert read(engine, published, of=days(D3 + timedelta(1), date.max)) == []

    def test_reads_the_snapshot_and_not_what_came_later(self, engine: SailEngine, table: Table) -> None:
        first = publish(engine, table, ROWS)
        pinned = first.current_snapshot()
        assert pinned is not None
        second = publish(engine, first, [("e", D3, None, None)])
        assert engine.read(second, pinned.snapshot_id, WANTED, None).count() == 4
        assert len(read(engine, second)) == 5

    def test_filters_files_of_another_partition_spec(self, engine: SailEngine, catalog: Catalog) -> None:
        table = catalog.create_table("tests.other", SCHEMA)
        published = publish(engine, table, ROWS)
        with published.update_spec() as update:
            update.add_identity("day")
        published = publish(engine, catalog.load_table("tests.other"), [("e", D2, None, 7)])
        assert read(engine, published, of=days(D2, D2)) == [*ROWS[1:3], ("e", D2, None, 7)]

    def test_a_column_that_is_younger_is_null(self, engine: SailEngine, table: Table) -> None:
        published = publish(engine, table, ROWS)
        wanted = T.StructType([*WANTED.fields, T.StructField("late", T.StringType())])
        with published.update_schema() as update:
            update.add_column("late", StringType())
        published = table.catalog.load_table(table.name())
        # The snapshot is older than the column.
        assert read(engine, published, wanted) == [(*row, None) for row in ROWS]
        with engine.active():
            late = frame(engine, [("e", D3, None, 9)]).withColumn("late", F.lit("x"))
            published = commit(published, engine.stage(late, target(published)))
        assert read(engine, published, wanted) == [*((*row, None) for row in ROWS), ("e", D3, None, 9, "x")]
        needed = T.StructType([*WANTED.fields, T.StructField("never", T.StringType(), False)])
        with pytest.raises(SchemaChangeRefused, match="never"):
            read(engine, published, needed)

    def test_a_column_that_took_over_a_name_is_not_read_as_it(self, engine: SailEngine, table: Table) -> None:
        published = publish(engine, table, ROWS)
        with published.update_schema(allow_incompatible_changes=True) as update:
            update.delete_column("n")
        with published.update_schema() as update:
            update.add_column("n", LongType())
        published = publish(engine, table.catalog.load_table(table.name()), [("e", D3, None, 9)])
        with pytest.raises(NotPlain, match="column n is another"):
            read(engine, published)

    def test_a_column_that_is_not_wanted_may_be_of_any_types(self, engine: SailEngine, table: Table) -> None:
        published = publish(engine, table, ROWS)
        with published.update_schema(allow_incompatible_changes=True) as update:
            update.delete_column("n")
        with published.update_schema() as update:
            update.add_column("n", StringType())
        changed = table.catalog.load_table(table.name())
        with engine.active():
            late = frame(engine, [("e", D3, None, 9)]).withColumn("n", F.lit("nine"))
        published = commit(changed, engine.stage(late, target(changed)))
        assert [row[0] for row in read(engine, published, T.StructType(WANTED.fields[:3]))] == ["a", "b", "c", "d", "e"]

    def test_a_renamed_column_is_not_read_as_null(self, engine: SailEngine, table: Table) -> None:
        published = publish(engine, table, ROWS)
        with published.update_schema() as update:
            update.rename_column("n", "number")
        renamed = table.catalog.load_table(table.name())
        wanted = T.StructType([*WANTED.fields[:3], T.StructField("number", T.LongType())])
        published = commit(
            renamed, engine.stage(frame(engine, [("e", D3, None, 9)]).withColumnRenamed("n", "number"), target(renamed))
        )
        with pytest.raises(NotPlain, match=r"tests\.rows: the file .*column n is called number now"):
            read(engine, published, wanted)

    def test_a_widened_column(self, engine: SailEngine, catalog: Catalog) -> None:
        narrow = Schema(*SCHEMA.fields[:2], NestedField(3, "amount", DecimalType(9, 2), required=False))
        table = catalog.create_table("tests.narrow", narrow, partition_spec=BY_DAY)
        with engine.active():
            small = frame(engine, ROWS).select("id", "day", F.col("amount").cast("decimal(9,2)").alias("amount"))
            published = commit(table, engine.stage(small, target(table)))
        with published.update_schema() as update:
            update.update_column("amount", DecimalType(18, 2))
        wide = catalog.load_table("tests.narrow")
        published = commit(wide, engine.stage(frame(engine, ROWS).select("id", "day", "amount"), target(wide)))
        with pytest.raises(NotPlain, match="is to be read as decimal"):
            read(engine, published, T.StructType(WANTED.fields[:3]))

    def test_a_file_of_others_without_field_ids(self, engine: SailEngine, table: Table, tmp_path: Path) -> None:
        path = str(tmp_path / "theirs.parquet")
        rows = pa.table(
            {
                "id": ["x"],
                "day": pa.array([D1]),
                "amount": pa.array([Decimal("1.00")], pa.decimal128(18, 2)),
                "n": pa.array([1], pa.int64()),
            },
            schema=pa.schema(
                [
                    pa.field("id", pa.string(), nullable=False),
                    pa.field("day", pa.date32(), nullable=False),
                    pa.field("amount", pa.decimal128(18, 2)),
                    pa.field("n", pa.int64()),
                ]
            ),
        )
        pq.write_table(rows, path)
        table.add_files([path])
        with pytest.raises(NotPlain, match="no field ids"):
            read(engine, table.catalog.load_table(table.name()))

    def test_deleted_rows_are_not_shown_again(self, engine: SailEngine, table: Table) -> None:
        published = publish(engine, table, ROWS)
        published.delete("id = 'b'")  # PyIceberg writes the file anew
        assert read(engine, table.catalog.load_table(table.name())) == [ROWS[0], *ROWS[2:]]

    @pytest.mark.parametrize("when", ["before reading", "after reading", "while staging"])
    def test_files_that_are_gone_are_not_read_as_empty(self, engine: SailEngine, table: Table, when: str) -> None:
        published = publish(engine, table, ROWS)
        if when == "before reading":
            read(engine, published)  # the footers are known
            files_of(table)[0].unlink()
            with pytest.raises(FilesLost, match="expected 4 rows in the files of snapshot"):
                read(engine, published)
            return
        current = published.current_snapshot()
        assert current is not None
        rows = engine.read(published, current.snapshot_id, WANTED, None)
        if when == "while staging":
            gone = files_of(table)[0]
            with engine.active():
                rows = rows.where(F.lit(True))
            gone.unlink()
            with pytest.raises(FilesLost, match="expected 3 files in snapshot"):
                engine.stage(rows, target(published))
        else:
            files_of(table)[0].unlink()
            with pytest.raises(FilesLost):
                engine.check_inputs()

    @pytest.mark.parametrize("kind", ["data/**/*.parquet", "metadata/snap-*.avro", "metadata/*-m*.avro"])
    def test_files_that_are_gone_before_a_scan_is_planned_are_named(
        self, engine: SailEngine, table: Table, kind: str
    ) -> None:
        """As those of a pinned snapshot that has expired."""
        published = publish(engine, table, ROWS)
        forget()
        for path in Path(published.location().removeprefix("file://")).glob(kind):
            path.unlink()
        with pytest.raises(FilesLost, match=r"every file that it names in snapshot \d+, found that one is gone"):
            read(engine, published)

    def test_equality_deletes_are_for_spark(self, engine: SailEngine, table: Table) -> None:
        """As Flink writes them: rows of a value are deleted, wherever they are."""
        deleted = delete_by_equality(publish(engine, table, ROWS), "b")
        with pytest.raises(NotPlain, match="it has equality deletes"):
            read(engine, deleted)

    def test_a_path_that_is_a_pattern_is_for_spark(self, engine: SailEngine, tmp_path: Path) -> None:
        folder = tmp_path / "lake [of] loans"
        catalog = IcebergCatalog(uri=f"sqlite:///{tmp_path}/other.db", warehouse=f"file://{folder}").load()
        catalog.create_namespace("tests")
        table = catalog.create_table("tests.rows", SCHEMA)
        with pytest.raises(NotPlain, match="mean something else"):
            read(engine, publish(engine, table, ROWS))

    def test_a_path_with_spaces(self, engine: SailEngine, tmp_path: Path) -> None:
        folder = tmp_path / "Läke of loans, 100 + 1"
        catalog = IcebergCatalog(uri=f"sqlite:///{tmp_path}/other.db", warehouse=f"file://{folder}").load()
        catalog.create_namespace("tests")
        table = catalog.create_table("tests.rows", SCHEMA, partition_spec=BY_DAY)
        assert read(engine, publish(engine, table, ROWS)) == ROWS


class TestKeep:
    def test_is_computed_once(self, engine: SailEngine, tmp_path: Path) -> None:
        counter = tmp_path / "counter"

        def count(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for batch in batches:
                with counter.open("a") as file:
                    file.write("x" * batch.num_rows)
                yield batch

        with engine.active():
            kept = engine.keep(engine.session.range(10).mapInArrow(count, "id long"))
            assert (kept.count(), kept.where("id > 4").count()) == (10, 5)
        assert counter.read_text() == "x" * 10

    @pytest.mark.parametrize("rows", [0, 1, 1000])
    def test_nested_values_survive(self, engine: SailEngine, rows: int) -> None:
        with engine.active():
            nested = engine.session.range(rows).selectExpr(
                "id",
                "IF(id = 0, NULL, array(named_struct('account', 'a', 'amount', CAST(id AS DECIMAL(18,2))))) AS entries",
                "CAST(NULL AS STRING) AS nothing",
                "DATE'2025-01-01' AS day",
            )
            kept = engine.keep(nested)
            assert kept.schema.simpleString() == nested.schema.simpleString()
            assert sorted(map(str, kept.collect())) == sorted(map(str, nested.collect()))

    def test_nothing_is_left_behind(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        engine = SailEngine(SailSessions().open, "")
        with engine.active():
            engine.keep(engine.session.range(3))
        assert list(tmp_path.iterdir())
        engine.close()
        assert list(tmp_path.iterdir()) == []

    def test_one_that_loses_a_file_is_not_read_as_empty(
        self, engine: SailEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        with engine.active():
            engine.keep(engine.session.range(3))
        engine.check_inputs()
        next(tmp_path.rglob("*.parquet")).unlink()
        with pytest.raises(FilesLost, match="a frame that the step keeps"):
            engine.check_inputs()


@pytest.mark.parametrize(
    ("use", "what"),
    [
        (lambda frame: frame.rdd.count(), "frame.rdd.count()"),
        (lambda frame: frame.sparkSession.sparkContext.parallelize([1]), "sparkContext.parallelize"),
        (lambda frame: frame.localCheckpoint().count(), "this command is not proven"),
    ],
)
def test_what_only_spark_has_is_for_spark(engine: SailEngine, use: Callable[[Any], Any], what: str) -> None:
    with pytest.raises(NotProven) as error, engine.active():
        use(engine.session.range(3))
    assert what in str(error.value)
    if "command" not in what:
        assert str(error.value).startswith(f"{__file__}:")


def test_where_sail_fails_another_engine_may_do_without(engine: SailEngine) -> None:
    """Sail divides before it leaves out the rows whose divisor is zero."""
    quotient = "CAST(6 AS decimal(5,2)) / CAST(id AS decimal(5,2)) AS x"
    with pytest.raises(EngineFailed, match=r"^sail failed with: .*\[DIVIDE_BY_ZERO\] 6.00 / 0.00$"), engine.active():
        engine.session.range(3).selectExpr(quotient).where("x > 100").collect()


def test_a_condition_on_a_union_of_a_selection_from_a_union_is_for_another_engine(
    engine: SailEngine, table: Table
) -> None:
    """Sail makes one union of the two, and loses the names of their columns."""
    published = publish(engine, table, ROWS)
    current = published.current_snapshot()
    assert current is not None
    with engine.active():
        one, two, three = (engine.read(published, current.snapshot_id, WANTED, None) for _ in range(3))
        both = one.unionByName(two).select("*").unionByName(three)
        assert both.count() == 3 * len(ROWS)
    with pytest.raises(EngineFailed, match=r'^sail failed with: No field named "#\d+"'), engine.active():
        both.where("n > 1").collect()


def _as_they_come(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield from batches


@pytest.mark.parametrize("is_below_a_function", [False, True])
@pytest.mark.parametrize(
    ("amount", "error"),
    [
        ("CAST(amount / (amount - amount) AS decimal(18,2))", "DIVIDE_BY_ZERO"),
        ("CAST(CAST(amount * 1000000000 AS int) AS decimal(18,2))", "(?i)cast"),
        ("CAST(amount * 100000000000000000BD AS decimal(18,2))", "(?i)overflow|range|too large|cast"),
    ],
)
def test_an_error_while_staging_is_the_engine_s_too(
    engine: SailEngine, table: Table, amount: str, error: str, is_below_a_function: bool
) -> None:
    with engine.active():
        rows = frame(engine, ROWS).withColumn("amount", F.expr(amount))
        if is_below_a_function:
            rows = rows.mapInArrow(_as_they_come, rows.schema)
    with pytest.raises(EngineFailed, match=error):
        engine.stage(rows, target(table))
    assert not files_of(table)


def test_an_error_of_a_function_while_staging_is_not_the_engine_s(engine: SailEngine, table: Table) -> None:
    def refuses(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for _ in batches:
            raise ValueError("loan L1: expected a balance")
        yield from ()

    with engine.active():
        rows = frame(engine, ROWS)
        rows = rows.mapInArrow(refuses, rows.schema)
    with pytest.raises(PythonException, match="ValueError: loan L1: expected a balance"):
        engine.stage(rows, target(table))


@pytest.mark.parametrize(
    ("declared", "value", "found"),
    [
        ("x decimal(18,2)", pa.array([Decimal("1.255")]), "decimal128\\(4, 3\\)"),
        ("x long", pa.array([1], pa.int32()), "int32"),
        ("x long", pa.array(["1"]), "string"),
    ],
)
def test_what_a_function_returns_is_as_declared(engine: SailEngine, declared: str, value: pa.Array, found: str) -> None:
    def returns(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for _ in batches:
            yield pa.RecordBatch.from_arrays([value], ["x"])

    with pytest.raises(PythonException, match=f"column x: expected .*; the function returned {found}"), engine.active():
        engine.session.range(1).mapInArrow(returns, declared).collect()


def test_an_error_of_python_is_the_same_on_each_engine(engine: SailEngine) -> None:
    def refuses(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for _ in batches:
            raise ValueError("loan L1: expected a balance")
        yield from ()

    with pytest.raises(PythonException, match="loan L1: expected a balance"), engine.active():
        engine.session.range(3).mapInArrow(refuses, "id long").count()


@pytest.mark.parametrize("condition", ["CAST(n AS int) < 20", "n * 8388608 < 0", "CAST(n * 8388608 AS int) IN (1, 2)"])
def test_what_overflows_raises_where_it_is_only_compared(engine: SailEngine, tmp_path: Path, condition: str) -> None:
    """Also of a column that is never null, where DataFusion moves casts to the constant."""
    pq.write_table(pa.table({"n": pa.array([2**40], pa.int64())}), tmp_path / "n.parquet")
    with engine.active():
        for schema in ("n bigint", "n bigint NOT NULL"):
            frame = engine.session.read.schema(schema).parquet(str(tmp_path / "n.parquet"))
            with pytest.raises(PySparkException, match=r"(?i)cast|range"):
                frame.where(condition).collect()
            with pytest.raises(PySparkException, match=r"(?i)cast|range"):
                frame.selectExpr(f"{condition} AS found").collect()


def test_a_full_disk_is_one_and_no_reason_for_another_engine(engine: SailEngine) -> None:
    def fails(_batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left on device") as caught, engine.active():
        engine.keep(engine.session.range(1).mapInArrow(fails, "id long"))
    assert caught.value.errno == errno.ENOSPC


class TestCheck:
    def test_refuses_what_is_not_proven_and_computes_nothing(
        self, engine: SailEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with engine.active():
            numbers = engine.session.range(3)
            monkeypatch.setattr(cast(Any, engine.session).client, "_execute_and_fetch", pytest.fail)
            engine.check([lambda: numbers.agg(F.sum("id"))])
            with pytest.raises(NotProven, match="lower"):
                engine.check([lambda: numbers.agg(F.sum("id")), lambda: numbers.select(F.lower(F.lit("A")))])

    def test_what_only_spark_has_is_found_too(self, engine: SailEngine) -> None:
        with engine.active(), pytest.raises(NotProven, match="spark alone"):
            engine.check([lambda: cast(Any, engine.session.range(3)).rdd])

    def test_a_frame_that_is_made_of_rows_is_left_out_and_not_computed_with_others(self, engine: SailEngine) -> None:
        """Of no rows it would be another: a NULL of no type times an amount, say."""

        def above_the_most(rows: DataFrame) -> DataFrame:
            try:
                most = rows.agg(F.max("id")).collect()[0][0]
            except Exception:
                most = 0
            return rows.select(F.lower(F.lit(str(most))))

        with engine.active():
            engine.check([lambda: above_the_most(engine.empty(T.StructType([T.StructField("id", T.LongType())])))])

    def test_what_it_makes_may_read_and_keep(self, engine: SailEngine, table: Table) -> None:
        published = publish(engine, table, ROWS)
        current = published.current_snapshot()
        assert current is not None
        with engine.active():
            engine.check([lambda: engine.keep(engine.read(published, current.snapshot_id, WANTED, None))])
            assert len(engine._kept) == 1


class TestAnswers:
    def test_an_answer_that_is_lost_is_asked_for_again_though_its_plan_was_mended(
        self, engine: SailEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        execution, asked = cast(Any, engine.session).client._stub.ExecutePlan, []
        execute = execution._execute

        def cut_once(*args: Any, **named: Any) -> Iterator[Any]:
            asked.append(1)
            answers = execute(*args, **named)
            return islice(answers, 1) if len(asked) == 1 else answers

        monkeypatch.setattr(execution, "_execute", cut_once)
        with engine.active():
            text = engine.session.createDataFrame([("a\n",), ("b",)], "id string")
            assert engine.answers([text.agg(F.count_if(F.col("id").rlike(r"^.+\z")))])[0][0] == 1
        assert len(asked) == 2

    def test_come_in_the_order_of_the_queries(self, engine: SailEngine) -> None:
        with engine.active():
            rows = [engine.session.range(number).agg(F.count(F.lit(1)).alias("rows")) for number in (100_000, 1, 2, 0)]
            assert [row["rows"] for row in engine.answers(rows)] == [100_000, 1, 2, 0]

    def test_two_are_at_work_at_a_time(self, engine: SailEngine) -> None:
        """Each waits until the other has begun."""
        with engine.active():
            met = engine.session.range(1).mapInArrow(_Meeting(), "id long").agg(F.sum("id").alias("met"))
            again = engine.session.range(1).mapInArrow(_Meeting(), "id long").agg(F.sum("id").alias("met"))
            assert [row["met"] for row in engine.answers([met, again])] == [1, 1]

    def test_an_error_of_one_is_raised(self, engine: SailEngine) -> None:
        def queries() -> Iterator[DataFrame]:
            yield engine.session.range(1).agg(F.sum("id"))
            raise LookupError("what an audit raises while its query is made")

        with engine.active():
            fails = engine.session.range(1).mapInArrow(_fails, "id long").agg(F.sum("id"))
            with pytest.raises(LookupError, match="what an audit raises"):
                engine.answers(queries())
            with pytest.raises(PythonException, match="in the function"):
                engine.answers([engine.session.range(1).agg(F.sum("id")), fails])

    def test_frames_that_queries_share_are_checked_as_if_one_came_after_another(self, engine: SailEngine) -> None:
        with engine.active():
            shared = engine.session.range(1000).selectExpr("id", "CAST(id AS DECIMAL(18, 2)) / 3 AS third")
            queries = [shared.where(f"id < {most}").agg(F.sum("third").alias("sum")) for most in range(1, 60)]
            alone = [query.collect()[0] for query in queries]
            assert engine.answers(queries) == alone
        assert engine.notes == "mended: /"

    def test_what_fails_does_not_wait_for_what_goes_on(self, engine: SailEngine) -> None:
        """As does a run that somebody stops. A thread of Sail is busy with a function for one batch at a time."""
        began = time.monotonic()
        with engine.active():
            slow = engine.session.range(1).mapInArrow(_sleeps, "id long").agg(F.sum("id"))
            fails = engine.session.range(1).mapInArrow(_fails, "id long").agg(F.sum("id"))
            with pytest.raises(PythonException, match="in the function"):
                engine.answers([fails, slow])
        assert time.monotonic() - began < _SLEEPS * _SLEEP


class _Meeting:
    """Gives 1 if two of it were at work at a time, 0 if not within seconds. Sail runs functions in this process."""

    at_work = threading.Barrier(2)

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            try:
                self.at_work.wait(timeout=10)
                met = 1
            except threading.BrokenBarrierError:
                met = 0
            yield pa.RecordBatch.from_arrays([pa.array([met] * batch.num_rows, pa.int64())], ["id"])


_SLEEPS, _SLEEP = 600, 0.1


def _sleeps(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """A minute, in many batches."""
    for batch in batches:
        for _ in range(_SLEEPS):
            time.sleep(_SLEEP)
            yield batch


def _fails(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    raise ValueError("in the function")


def test_empty_frames_have_the_schema(engine: SailEngine) -> None:
    empty = engine.empty(WANTED)
    assert [(each.name, each.dataType) for each in empty.schema] == [(each.name, each.dataType) for each in WANTED]
    assert empty.count() == 0


def test_on_s3(s3: S3Server, tmp_path: Path) -> None:
    table = s3_catalog(s3, tmp_path).create_table("tests.rows", SCHEMA, partition_spec=BY_DAY)
    engine = SailEngine(SailSessions(s3_endpoint=s3.endpoint, region=REGION).open, "")
    published = publish(engine, table, ROWS)
    assert read(engine, published) == ROWS
    assert published.scan().to_arrow().num_rows == 4
    published.io.delete(next(iter(published.scan().plan_files())).file.file_path)
    with pytest.raises(FilesLost):
        read(engine, published)
    engine.close()


def test_a_deployment_says_the_pinned_settings_on_sail_too() -> None:
    resources = build_defs(Settings.local(Path("/nowhere"), date(2025, 1, 1))).resources or {}
    sail: Any = resources["sail"]
    session = sail.open()
    unsaid = "spark.sql.parser.escapedStringLiterals"  # Sail knows its pinned value only
    try:
        found = {name: session.spark.conf.get(name) for name in RESULT_SETTINGS if name != unsaid}
        assert {**found, unsaid: "false"} == dict(RESULT_SETTINGS)
        with session.active():
            assert session.spark.sql(r"SELECT 'L1' RLIKE '^L1\\z'").first() == (True,)
    finally:
        session.close()


def _in_parts(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield from (batch.slice(start, 500) for start in range(0, len(batch), 500))


def _by_twos(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield from (batch.slice(start, 2) for start in range(0, len(batch), 2))
