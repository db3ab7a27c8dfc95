"""What the environment may set, and how a wrong value is refused."""

from datetime import date
from pathlib import Path

import pytest

from affirm_assets.errors import SettingError
from affirm_assets.settings import DEPLOYMENTS, Settings


def test_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings.of({}) == Settings("local", tmp_path / ".lake", date(2025, 1, 1))


@pytest.mark.parametrize("name", ["AFFIRM_DEPLOYMENT", "AFFIRM_LAKE", "AFFIRM_FIRST_BUSINESS_DATE"])
def test_empty_value_is_the_default(name: str) -> None:
    assert Settings.of({name: ""}) == Settings.of({})


def test_every_known_deployment_is_accepted() -> None:
    assert [Settings.of({"AFFIRM_DEPLOYMENT": known}).deployment for known in DEPLOYMENTS] == list(DEPLOYMENTS)


def test_lake_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings.of({"AFFIRM_LAKE": "books/lake"}).lake == tmp_path / "books/lake"


def test_lake_may_be_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Settings.of({"AFFIRM_LAKE": "~/lake"}).lake == tmp_path / "lake"


@pytest.mark.parametrize("name", ["a#b", "a?b", "a%20b", "a\nb"])
def test_lake_whose_path_the_engines_read_in_different_ways_is_refused(tmp_path: Path, name: str) -> None:
    lake = str(tmp_path / name / "lake")
    with pytest.raises(SettingError) as refused:
        Settings.of({"AFFIRM_LAKE": lake})
    assert f"AFFIRM_LAKE={lake!r}: expected a folder whose whole path has no #, ?, %" in str(refused.value)


def test_lake_in_a_working_folder_of_such_a_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a#b").mkdir()
    monkeypatch.chdir(tmp_path / "a#b")
    with pytest.raises(SettingError, match="AFFIRM_LAKE="):
        Settings.of({})


def test_first_business_date_is_read() -> None:
    assert Settings.of({"AFFIRM_FIRST_BUSINESS_DATE": "2024-02-29"}).first_business_date == date(2024, 2, 29)


def test_lake_holds_catalog_warehouse_and_landing() -> None:
    settings = Settings.of({"AFFIRM_LAKE": "/lake"})
    paths = (settings.catalog_database, settings.warehouse, settings.landing)
    assert paths == (Path("/lake/catalog.db"), Path("/lake/warehouse"), Path("/lake/landing"))


@pytest.mark.parametrize("value", ["production", "Local", " local"], ids=["unknown", "other case", "blank before it"])
def test_unknown_deployment_lists_the_known(value: str) -> None:
    with pytest.raises(SettingError) as refused:
        Settings.of({"AFFIRM_DEPLOYMENT": value})
    assert f"AFFIRM_DEPLOYMENT={value!r}: expected one of {', '.join(DEPLOYMENTS)}." in str(refused.value)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("yesterday", id="words"),
        pytest.param("2025-02-30", id="no such day"),
        pytest.param("01/02/2025", id="other order"),
        pytest.param("2025-01", id="month"),
        pytest.param("2025-01-02T00:00:00", id="time"),
        pytest.param("2025-W01-4", id="week"),
        pytest.param("20250102", id="without hyphens"),
        pytest.param("2025-01-02\n", id="line break after it"),
    ],
)
def test_malformed_first_business_date_shows_the_expected_form(value: str) -> None:
    with pytest.raises(SettingError) as refused:
        Settings.of({"AFFIRM_FIRST_BUSINESS_DATE": value})
    assert f"AFFIRM_FIRST_BUSINESS_DATE={value!r}: expected a date YYYY-MM-DD." in str(refused.value)


def test_message_says_what_to_do() -> None:
    with pytest.raises(SettingError, match=r"Set AFFIRM_DEPLOYMENT to .*, or unset it\."):
        Settings.of({"AFFIRM_DEPLOYMENT": "production"})
