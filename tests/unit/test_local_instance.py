"""The local Dagster instance of a checkout: its folder, its dagster.yaml, and the .env that names it."""

from pathlib import Path

import pytest
from dotenv import dotenv_values

from affirm_assets.local_instance import prepare_instance

INSTANCE_YAML = "telemetry:\n  enabled: false\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "the checkout"
    root.mkdir()
    (root / "dagster.yaml").write_text(INSTANCE_YAML)
    return root


def home_of(checkout: Path) -> str | None:
    """As dagster reads it."""
    return dotenv_values(checkout / ".env")["DAGSTER_HOME"]


def test_env_names_the_instance_s_folder(checkout: Path) -> None:
    prepare_instance(checkout)
    assert home_of(checkout) == str(checkout / ".dagster")


def test_home_is_absolute_for_a_relative_checkout(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout)
    prepare_instance(Path())
    assert home_of(checkout) == str(checkout / ".dagster")


@pytest.mark.parametrize("end", ["\n", ""], ids=["line break at the end", "none"])
def test_other_lines_of_env_stay(checkout: Path, end: str) -> None:
    others = ["# Mine", "AFFIRM_LAKE=/data/lake", "", "MY_DAGSTER_HOME=/elsewhere"]
    (checkout / ".env").write_text("\n".join(others) + end)
    prepare_instance(checkout)
    home = checkout / ".dagster"
    assert (checkout / ".env").read_text().splitlines() == [*others, f"DAGSTER_HOME='{home}'"]


def test_home_that_is_there_stays(checkout: Path) -> None:
    before = "DAGSTER_HOME=/srv/dagster\nAFFIRM_LAKE=/data/lake"
    (checkout / ".env").write_text(before)
    prepare_instance(checkout)
    assert (checkout / ".env").read_text() == before


def test_second_time_changes_nothing(checkout: Path) -> None:
    prepare_instance(checkout)
    before = contents(checkout)
    prepare_instance(checkout)
    assert contents(checkout) == before


def contents(folder: Path) -> dict[Path, tuple[bool, str | None]]:
    """Everything below a folder: whether it is a link, and its text."""
    return {path: (path.is_symlink(), path.read_text() if path.is_file() else None) for path in folder.rglob("*")}


@pytest.mark.parametrize("relative", [False, True], ids=["absolute", "relative"])
def test_instance_has_the_checkout_s_dagster_yaml(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, relative: bool
) -> None:
    monkeypatch.chdir(checkout)
    prepare_instance(Path() if relative else checkout)
    assert (checkout / ".dagster" / "dagster.yaml").read_text() == INSTANCE_YAML


def test_change_to_dagster_yaml_reaches_the_instance(checkout: Path) -> None:
    prepare_instance(checkout)
    (checkout / "dagster.yaml").write_text("telemetry:\n  enabled: true\n")
    assert (checkout / ".dagster" / "dagster.yaml").read_text() == "telemetry:\n  enabled: true\n"


def test_instance_of_a_checkout_that_was_moved_is_mended(checkout: Path) -> None:
    prepare_instance(checkout)
    moved = checkout.rename(checkout.with_name("moved"))
    prepare_instance(moved)
    assert (moved / ".dagster" / "dagster.yaml").read_text() == INSTANCE_YAML


def test_what_the_instance_holds_stays(checkout: Path) -> None:
    runs = checkout / ".dagster" / "history" / "runs.db"
    runs.parent.mkdir(parents=True)
    runs.write_text("runs")
    prepare_instance(checkout)
    assert runs.read_text() == "runs"
