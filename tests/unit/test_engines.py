"""Which engine a step gets and why, and what is said where it cannot have it. Pure logic: no engine is started."""

import re
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame

from affirm_assets.declare.contract import Contract, key
from affirm_assets.declare.dataset import Dataset, dataset
from affirm_assets.declare.partitions import Window
from affirm_assets.declare.registry import Registry
from affirm_assets.definitions import build_defs
from affirm_assets.errors import (
    DeclarationError,
    EngineFailed,
    EngineMissing,
    NotProven,
    SettingError,
    UnfitForEngine,
)
from affirm_assets.orchestration import engines
from affirm_assets.orchestration.engines import StepEngines, choose, lacks
from affirm_assets.settings import BY_SIZE, MOST_SAIL_MIB, SAIL, SPARK, EngineSettings, Settings
from affirm_assets.steps.scan_size import ScanSize
from resources.compute import profile
from tests.staged import Amount, amounts

MIB = 2**20
DAY = Window(date(2025, 1, 2), date(2025, 1, 2))
NO_JAVA = "Java 17 or 21 is needed, none was found. Install it: apt install openjdk-17-jre-headless (Debian)."
NO_SAIL = 'the engine sail is not installed (No module named pysail). Install it: pip install "pysail==0.7.2".'
UNFIT = NotProven("levenshtein", "it is not on the list of what is proven", ["string", "string"], "amounts.py:12")
FAILED = EngineFailed("sail", "[DIVIDE_BY_ZERO] 6.00 / 0.00")


ENOUGH = 2**40
"""Bytes of memory: no reason to choose spark."""


@dataclass
class Opened:
    """A session of sail that computes nothing."""

    spark: Any = None

    def active(self) -> Any:
        return nullcontext()

    def close(self) -> None: ...


@dataclass
class Machine:
    """What can be opened on it, and what was: for Spark, how many bytes it was told of."""

    sail: list[str] = field(default_factory=list)
    spark: list[int] = field(default_factory=list)
    java_problem: str | None = None

    def engines(self, settings: EngineSettings = BY_SIZE) -> StepEngines:
        openers: Any = _Openers(self)
        sail, spark = openers, _SparkOpener(self)
        return StepEngines(
            spark, {}, "lake", sail, profile("small"), settings, lambda: self.java_problem, lambda: ENOUGH
        )


@dataclass
class _Openers:
    machine: Machine

    def open(self, check: Any) -> Opened:
        self.machine.sail.append("a session")
        return Opened()


@dataclass
class _SparkOpener:
    machine: Machine

    def open(self, conf: Any, profile: Any, scan_bytes: int) -> Any:
        self.machine.spark.append(scan_bytes)
        return object(), None


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """Where both engines are."""
    monkeypatch.setattr(engines, "sail_problem", lambda: None)
    return Machine()


@pytest.fixture
def without_sail(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(engines, "sail_problem", lambda: NO_SAIL)
    return machine


@pytest.fixture
def without_java(machine: Machine) -> Machine:
    machine.java_problem = NO_JAVA
    return machine


def declared(engine: str | None = None) -> Dataset:
    made = amounts()
    return Dataset(**{**{name: getattr(made, name) for name in made.__dataclass_fields__}, "engine": engine})


def of_size(mib: float) -> ScanSize:
    return ScanSize(int(mib * MIB), 1)


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


class TestChoice:
    def test_the_limit_is_what_sail_still_reads(self) -> None:
        settings = EngineSettings(sail_mib=10)
        assert choose(None, settings, 0, ENOUGH).engine == SAIL
        assert choose(None, settings, 10 * MIB, ENOUGH).engine == SAIL
        assert choose(None, settings, 10 * MIB + 1, ENOUGH).engine == SPARK
        assert choose(None, EngineSettings(sail_mib=0), 0, ENOUGH).engine == SAIL
        assert choose(None, EngineSettings(sail_mib=0), 1, ENOUGH).engine == SPARK

    @pytest.mark.parametrize("scan_bytes", [0, 2**50])
    def test_the_declaration_comes_before_the_size(self, scan_bytes: int) -> None:
        for engine in (SAIL, SPARK):
            choice = choose(engine, BY_SIZE, scan_bytes, ENOUGH)
            assert (choice.engine, choice.is_fixed) == (engine, True)
            assert choice.why.startswith(f"the dataset is declared with engine='{engine}' (")

    @pytest.mark.parametrize("scan_bytes", [0, 2**50])
    @pytest.mark.parametrize("of_dataset", [None, SAIL, SPARK])
    def test_the_environment_comes_before_the_declaration(self, scan_bytes: int, of_dataset: str | None) -> None:
        for engine in (SAIL, SPARK):
            choice = choose(of_dataset, EngineSettings(engine), scan_bytes, ENOUGH)
            assert (choice.engine, choice.is_fixed) == (engine, True)
            assert choice.why.startswith(f"AFFIRM_ENGINE={engine} (")

    def test_says_how_much_there_is_and_the_limit(self) -> None:
        settings = EngineSettings(sail_mib=1024)
        small, large = choose(None, settings, 3 * MIB // 2, ENOUGH), choose(None, settings, 2000 * MIB, ENOUGH)
        assert small.why == "1.5 MiB to read, of at most 1,024 MiB for sail"
        assert large.why == "2,000.0 MiB to read, more than the 1,024 MiB for sail"
        assert not small.is_fixed
        assert not large.is_fixed
        in_a_pod = choose(None, BY_SIZE, 30 * MIB, 3 * 2**30)
        assert (in_a_pod.engine, in_a_pod.why) == (SPARK, "30.0 MiB to read, more than the 24 MiB for sail")


class TestSettings:
    def test_nothing_set_is_by_size(self) -> None:
        assert EngineSettings.of({}) == EngineSettings.of({"AFFIRM_ENGINE": "", "AFFIRM_SAIL_MIB": ""}) == BY_SIZE
        assert EngineSettings(None, None) == BY_SIZE

    @pytest.mark.parametrize(("gib", "mib"), [(1, 8), (3, 24), (8, 64), (512, 64)])
    def test_unless_it_is_set_a_step_reads_what_its_memory_is_enough_for(self, gib: int, mib: int) -> None:
        memory = gib * 2**30
        assert BY_SIZE.most_for_sail(memory) == mib
        assert EngineSettings(sail_mib=100).most_for_sail(memory) == 100
        assert BY_SIZE.most_in_share(memory) == mib
        # Whatever is set: beside others, no step may take more than its share.
        assert EngineSettings(sail_mib=1 << 20).most_in_share(memory) == 8 * gib
        assert EngineSettings(sail_mib=1).most_in_share(memory) == 1

    def test_are_read(self) -> None:
        environ = {"AFFIRM_ENGINE": "spark", "AFFIRM_SAIL_MIB": "12", "AFFIRM_SPARK_NATIVE": "on"}
        assert Settings.of(environ).engines == EngineSettings(SPARK, 12, native=True)
        assert Settings.of({"AFFIRM_SPARK_NATIVE": "off"}).engines == EngineSettings(native=False)

    @pytest.mark.parametrize(
        ("name", "value", "expected"),
        [
            ("AFFIRM_ENGINE", "duck", "one of sail, spark, or nothing; found 'duck'"),
            ("AFFIRM_ENGINE", "Sail", "one of sail, spark, or nothing; found 'Sail'"),
            ("AFFIRM_SAIL_MIB", "x", "a whole number of MiB; found 'x'"),
            ("AFFIRM_SAIL_MIB", "-1", "a whole number of MiB; found '-1'"),
            ("AFFIRM_SAIL_MIB", "1.5", "a whole number of MiB; found '1.5'"),
            ("AFFIRM_SAIL_MIB", "12\n", "a whole number of MiB"),
            ("AFFIRM_SAIL_MIB", "٣", "a whole number of MiB"),
            ("AFFIRM_SPARK_NATIVE", "true", "one of on, off, or nothing; found 'true'"),
        ],
    )
    def test_others_are_refused(self, name: str, value: str, expected: str) -> None:
        with pytest.raises(SettingError, match=re.escape(f"{name}: expected {expected}")) as error:
            Settings.of({name: value})
        assert f"Mend {name} in the environment." in one_line(error)


def test_an_unknown_engine_of_a_dataset_is_refused_where_it_is_declared() -> None:
    def unknown(amounts: DataFrame) -> DataFrame:
        return amounts

    # A dataset is named like its file.
    unknown.__name__ = Path(__file__).stem
    engine: Any = "duck"
    with pytest.raises(DeclarationError, match="expected engine to be 'sail' or 'spark'; found 'duck'") as error:
        dataset(Amount, owner="team:tests", engine=engine)(unknown)
    assert str(error.value).startswith(f"{__file__}: dataset 'test_engines'")


class TestOpen:
    def test_sail_for_a_small_step_and_spark_for_a_large_one(self, machine: Machine) -> None:
        opened = machine.engines()
        small = opened.open(declared(), DAY, of_size(MOST_SAIL_MIB))
        assert (small.name, machine.sail, machine.spark) == (SAIL, ["a session"], [])
        large = opened.open(declared(), DAY, of_size(MOST_SAIL_MIB + 1))
        assert (large.name, machine.sail, machine.spark) == (SPARK, ["a session"], [(MOST_SAIL_MIB + 1) * MIB])
        assert large.why == "65.0 MiB to read, more than the 64 MiB for sail"

    def test_says_what_there_was_to_read(self, machine: Machine) -> None:
        opened = machine.engines()
        assert opened.metadata == {}
        opened.open(declared(), DAY, ScanSize(123, 4))
        assert (opened.metadata["scan_bytes"], opened.metadata["scan_files"]) == (123, 4)

    def test_no_java_is_needed_where_sail_computes(self, without_java: Machine) -> None:
        assert without_java.engines().open(declared(), DAY, of_size(1)).name == SAIL
        assert without_java.engines(EngineSettings(SAIL)).open(declared(SPARK), DAY, of_size(2**20)).name == SAIL

    @pytest.mark.parametrize(
        ("settings", "of_dataset", "mib", "why", "otherwise"),
        [
            (
                BY_SIZE,
                None,
                300,
                "300.0 MiB to read, more than the 64 MiB for sail",
                "AFFIRM_ENGINE for all steps, engine= of the dataset, or AFFIRM_SAIL_MIB for how much sail may read",
            ),
            (
                BY_SIZE,
                SPARK,
                1,
                "the dataset is declared with engine='spark' (1.0 MiB to read)",
                "engine= of the dataset, or AFFIRM_ENGINE for all steps",
            ),
            (EngineSettings(SPARK), SAIL, 2, "AFFIRM_ENGINE=spark (2.0 MiB to read)", "AFFIRM_ENGINE"),
        ],
        ids=["by size", "by declaration", "by the environment"],
    )
    def test_java_missing_where_spark_is_needed(
        self,
        without_java: Machine,
        settings: EngineSettings,
        of_dataset: str | None,
        mib: int,
        why: str,
        otherwise: str,
    ) -> None:
        with pytest.raises(EngineMissing) as error:
            without_java.engines(settings).open(declared(of_dataset), DAY, of_size(mib))
        line = one_line(error)
        assert line.startswith(f"tests/amounts {DAY}: expected the engine spark ({why}); found that spark cannot start")
        assert "apt install openjdk-17-jre-headless" in line
        assert line.endswith(f" Or choose another engine: {otherwise}.")
        assert (without_java.sail, without_java.spark) == ([], [])

    def test_of_a_dataset_without_partitions(self, without_java: Machine) -> None:
        with pytest.raises(EngineMissing, match=r"^tests/amounts: expected the engine spark "):
            without_java.engines().open(declared(), None, of_size(300))

    def test_without_sail_a_small_step_is_for_spark(self, without_sail: Machine) -> None:
        engine = without_sail.engines().open(declared(), DAY, of_size(1))
        assert engine.name == SPARK
        assert engine.why == f"1.0 MiB to read, of at most 64 MiB for sail, but {NO_SAIL.rstrip('.')}"

    @pytest.mark.parametrize(
        ("settings", "of_dataset", "why"),
        [
            (BY_SIZE, SAIL, "the dataset is declared with engine='sail'"),
            (EngineSettings(SAIL), None, "AFFIRM_ENGINE=sail"),
        ],
    )
    def test_sail_missing_where_it_is_asked_for(
        self, without_sail: Machine, settings: EngineSettings, of_dataset: str | None, why: str
    ) -> None:
        with pytest.raises(EngineMissing) as error:
            without_sail.engines(settings).open(declared(of_dataset), DAY, of_size(1))
        line = one_line(error)
        assert line.startswith(f"tests/amounts {DAY}: expected the engine sail ({why} (1.0 MiB to read)); found that")
        assert NO_SAIL in line
        assert without_sail.spark == []

    def test_neither_is_there(self, without_sail: Machine) -> None:
        without_sail.java_problem = NO_JAVA
        with pytest.raises(EngineMissing) as error:
            without_sail.engines().open(declared(), DAY, of_size(1))
        assert NO_SAIL.rstrip(".") in one_line(error)
        assert NO_JAVA in one_line(error)


class TestInstead:
    def test_a_plan_that_is_not_proven_is_for_spark(self, machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
        engine = machine.engines().instead(declared(), DAY, of_size(1), UNFIT)
        assert (engine.name, machine.spark) == (SPARK, [MIB])
        assert engine.why == (
            f"1.0 MiB to read, of at most 64 MiB for sail, but {amounts().source} is not fit for it: amounts.py:12: "
            "levenshtein (of string, string): it is not on the list of what is proven"
        )
        assert f"tests/amounts {DAY} is computed by spark and not by sail" in caplog.text

    @pytest.mark.parametrize(
        ("found", "said"),
        [
            (
                UNFIT,
                "not for sail: amounts.py:12: levenshtein (of string, string): it is not on the list of what is proven",
            ),
            (FAILED, "sail failed with: [DIVIDE_BY_ZERO] 6.00 / 0.00"),
        ],
    )
    def test_without_java_what_sail_found_comes_first(
        self, without_java: Machine, found: UnfitForEngine, said: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        with pytest.raises(EngineMissing) as error:
            without_java.engines().instead(declared(), DAY, of_size(1), found)
        assert one_line(error) == (
            f"{amounts().source}: tests/amounts {DAY}: {said}. Mend it if it is a mistake; else spark may compute it, "
            f"which cannot start here: {NO_JAVA}"
        )
        assert error.value.__cause__ is found
        assert caplog.messages == []

    def test_what_a_sail_that_was_asked_for_failed_with_comes_first(self, machine: Machine) -> None:
        with pytest.raises(UnfitForEngine) as error:
            machine.engines(EngineSettings(SAIL)).instead(declared(), DAY, of_size(1), FAILED)
        assert one_line(error) == (
            f"{amounts().source}: tests/amounts {DAY}: sail failed with: [DIVIDE_BY_ZERO] 6.00 / 0.00. Mend it if it "
            "is a mistake; else choose spark (AFFIRM_ENGINE, or engine= of the dataset): sail was chosen since "
            "AFFIRM_ENGINE=sail (1.0 MiB to read)."
        )
        assert error.value.__cause__ is FAILED

    @pytest.mark.parametrize(
        ("settings", "of_dataset", "why"),
        [
            (BY_SIZE, SAIL, "the dataset is declared with engine='sail'"),
            (EngineSettings(SAIL), None, "AFFIRM_ENGINE=sail"),
            (EngineSettings(SAIL), SPARK, "AFFIRM_ENGINE=sail"),
        ],
    )
    def test_a_sail_that_was_asked_for_is_not_replaced(
        self, machine: Machine, settings: EngineSettings, of_dataset: str | None, why: str
    ) -> None:
        with pytest.raises(UnfitForEngine) as error:
            machine.engines(settings).instead(declared(of_dataset), DAY, of_size(1), UNFIT)
        line = one_line(error)
        assert line.startswith(f"{amounts().source}: tests/amounts {DAY} cannot be computed by sail, which was chosen")
        for part in (why, "amounts.py:12: levenshtein (of string, string)", "AFFIRM_ENGINE", "engine= of the dataset"):
            assert part in line
        assert machine.spark == []
        assert error.value.__cause__ is UNFIT


class Code(Contract):
    """A code, of a pattern that Java knows and Sail does not."""

    day: date = key("Business date")
    code: str = key("Code", pattern="(?i)[a-z]+")


class WideKey(Contract):
    """Keys whose hash Sail is not proven to compute."""

    number: Decimal = key("Number", max_digits=38, decimal_places=2)
    day: date = key("Business date")


class FlagKey(Contract):
    """A flag as a key, and a word of SQL for its name."""

    order: bool = key("Flag")
    day: date = key("Business date")


class TestLacks:
    """What is known of a dataset's engine when definitions are loaded."""

    def test_nothing_of_those_that_may_have_either(self) -> None:
        assert [*lacks([amounts()], BY_SIZE, lambda: NO_JAVA)] == []

    def test_an_engine_that_is_not_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(engines, "sail_problem", lambda: NO_SAIL)
        fixed = [replace(amounts(), engine=SPARK), replace(amounts(), engine=SAIL)]
        assert [*lacks(fixed, BY_SIZE, lambda: NO_JAVA)] == [
            f"{fixed[0].source}: tests/amounts is for spark, which cannot run here: {NO_JAVA}",
            f"{fixed[1].source}: tests/amounts is for sail, which cannot run here: {NO_SAIL}",
        ]
        assert len([*lacks([amounts()] * 3, EngineSettings(SPARK), lambda: NO_JAVA)]) == 3

    def test_a_constraint_that_sail_cannot_compute(self) -> None:
        codes = replace(amounts(), contract=Code, engine=SAIL)
        (line,) = lacks([codes], BY_SIZE, lambda: None)
        assert "cannot compute its constraint code_pattern" in line
        assert "(? in a regular expression is not proven" in line
        assert [*lacks([replace(amounts(), engine=SAIL)], BY_SIZE, lambda: None)] == []

    @pytest.mark.parametrize(("contract", "kind"), [(WideKey, "decimal(38,2)"), (FlagKey, "boolean")])
    def test_a_key_that_sail_cannot_hash(self, contract: type[Contract], kind: str) -> None:
        dataset = replace(amounts(), contract=contract, engine=SAIL)
        (line,) = lacks([dataset], BY_SIZE, lambda: None)
        of = f"{dataset.source}: tests/amounts is for sail, which cannot compute its audit keys_are_unique: xxhash64("
        assert line.startswith(of)
        assert f" (of {kind}, date): " in line

    def test_is_said_when_definitions_are_loaded(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr("affirm_assets.definitions.lacks", lambda *_: ["amounts.py: it lacks an engine"])
        build_defs(Settings.local(tmp_path, date(2025, 1, 1)), Registry({}))
        assert "amounts.py: it lacks an engine" in caplog.text
