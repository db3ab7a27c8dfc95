"""Which steps the run's own pod executes, and what is said of the others."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from pyspark.sql import DataFrame

from affirm_assets.declare.carry import Carry
from affirm_assets.declare.contract import Contract, column, key
from affirm_assets.declare.dataset import Compute, Dataset
from affirm_assets.declare.inputs import landing
from affirm_assets.declare.partitions import Daily
from affirm_assets.declare.registry import Registry
from affirm_assets.orchestration.places import StepPlaces
from affirm_assets.settings import EngineSettings, Settings
from resources.kubernetes.places import Place
from tests.conftest import declare

GIB = 2**30
DAY = date(2025, 1, 2)
TAGS = {"dagster/partition": str(DAY)}
STEP = "landing__lines"
NO_SAIL = "the engine sail is not installed."


class Line(Contract):
    """A record of a feed."""

    day: date = key("Business date")
    file: str = key("File")
    record_number: int = key("Number")
    text: str = column("Text")
    problem: str | None = column("What is wrong with the record")
    raw: str | None = column("The record, if something is")


def lines(records: DataFrame) -> DataFrame:
    raise AssertionError("never run")


LINES = replace(
    declare(lines, Line, Daily("day"), inputs={"records": landing("feed", {"text": "text"})}), domain="landing"
)

Make = Callable[..., StepPlaces]


@pytest.fixture
def places(tmp_path: Path) -> Make:
    """Of one dataset that reads a feed; a process of a GiB may read 8 MiB."""
    settings = Settings.local(tmp_path, date(2025, 1, 1))

    def make(
        dataset: Dataset = LINES, engines: EngineSettings = settings.engines, sail_problem: str | None = None
    ) -> StepPlaces:
        registry = Registry.of([dataset])
        return StepPlaces(registry, replace(settings, engines=engines), lambda: GIB, lambda: sail_problem)

    return make


def land(lake: Path, size: int) -> None:
    folder = lake / "landing" / "feed" / str(DAY)
    folder.mkdir(parents=True)
    (folder / "a.jsonl").write_bytes(b"x" * size)
    (folder / "_SUCCESS").touch()


@pytest.mark.parametrize("compute", [Compute("small", own_pod=True), Compute("small", memory="6Gi")])
def test_a_dataset_may_ask_for_a_pod(places: Make, compute: Compute) -> None:
    assert places(replace(LINES, compute=compute)).beforehand(STEP) == "the dataset asks for it"


def test_what_spark_computes_has_a_pod_and_sail_may_be_said_instead(places: Make) -> None:
    on_spark = replace(LINES, engine="spark")
    assert places(on_spark).beforehand(STEP) == "the dataset says that spark computes it"
    assert places(engines=EngineSettings("spark")).beforehand(STEP) == "AFFIRM_ENGINE says that spark computes it"
    assert places(on_spark, EngineSettings("sail")).beforehand(STEP) is None


def test_where_sail_is_missing_every_step_has_a_pod(places: Make) -> None:
    assert places(sail_problem=NO_SAIL).beforehand(STEP) == "spark computes it: the engine sail is not installed"


def test_a_step_of_no_dataset_has_a_pod(places: Make) -> None:
    assert places().beforehand("other") == "it belongs to no dataset, so nobody knows how much memory it needs"


@pytest.mark.parametrize("profile", ["small", "medium"])
def test_otherwise_what_is_to_be_read_decides(places: Make, tmp_path: Path, profile: str) -> None:
    found = places(replace(LINES, compute=Compute(profile)))
    assert found.beforehand(STEP) is None
    assert found.now(STEP, TAGS) == Place(True, "0.0 MiB to read, of at most 8 MiB")
    land(tmp_path, 8 << 20)
    assert found.now(STEP, TAGS) == Place(True, "8.0 MiB to read, of at most 8 MiB")


def test_a_range_of_what_is_carried_counts_once_for_each_day(places: Make, tmp_path: Path) -> None:
    """A few bytes of loans are a row of each loan for each day."""
    carried = replace(LINES, carry=Carry({"text": "text"}))
    land(tmp_path, 3 << 20)
    counted = "3.0 MiB to read, counted for each of the {} partitions that carry it on"
    for last, place in (
        (date(2025, 1, 3), Place(True, f"{counted.format(2)}, of at most 8 MiB")),
        (
            date(2025, 1, 4),
            Place(False, f"{counted.format(3)}, more than the 8 MiB for a step in the run's own pod"),
        ),
    ):
        tags = {"dagster/asset_partition_range_start": str(DAY), "dagster/asset_partition_range_end": str(last)}
        assert places(carried).now(STEP, tags) == place
        assert places().now(STEP, tags) == Place(True, "3.0 MiB to read, of at most 8 MiB")
    assert places(carried).now(STEP, TAGS) == Place(True, "3.0 MiB to read, of at most 8 MiB")


def test_a_byte_more_needs_a_pod(places: Make, tmp_path: Path) -> None:
    land(tmp_path, (8 << 20) + 1)
    why = "8.0 MiB to read, more than the 8 MiB for a step in the run's own pod"
    assert places().now(STEP, TAGS) == Place(False, why)


def test_a_setting_for_sail_does_not_let_in_what_memory_is_not_enough_for(places: Make, tmp_path: Path) -> None:
    land(tmp_path, (8 << 20) + 1)
    assert not places(engines=EngineSettings(sail_mib=100)).now(STEP, TAGS).in_run_pod
    assert not places(engines=EngineSettings("sail", 100)).now(STEP, TAGS).in_run_pod


def test_what_cannot_be_measured_has_a_pod_and_the_reason_is_told(places: Make, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "landing" / "feed").mkdir(parents=True)
    (tmp_path / "landing" / "feed" / str(DAY)).symlink_to(tmp_path / "elsewhere")
    place = places().now(STEP, TAGS)
    assert not place.in_run_pod
    assert place.why.startswith("how much it reads cannot be told (UnknownLandingFile: ")
