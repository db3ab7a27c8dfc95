"""The folders of kept frames: each goes with its step, or with the next one if its process was killed."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from affirm_assets.engines.sail.scratch import PREFIX, Scratch, remove_leftovers
from affirm_assets.errors import SettingError


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def folders(temporary: Path) -> set[Path]:
    return set(temporary.glob(f"{PREFIX}*"))


def test_is_its_users_alone_and_goes_with_the_step(temporary: Path) -> None:
    scratch = Scratch()
    assert scratch.path.stat().st_mode & 0o077 == 0
    (scratch.path / "rows.parquet").write_text("jane.doe@example.com")
    scratch.remove()
    assert folders(temporary) == set()


def test_what_a_killed_process_left_is_removed_and_what_is_in_use_is_not(temporary: Path) -> None:
    code = (
        "import os, tempfile; from affirm_assets.engines.sail.scratch import Scratch;"
        f"tempfile.tempdir = {str(temporary)!r}; s = Scratch(); (s.path / 'rows.parquet').touch();"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    (left,) = folders(temporary)
    mine = Scratch()
    remove_leftovers()
    assert folders(temporary) == {mine.path}
    assert not left.exists()
    mine.remove()


def test_a_folder_of_somebody_else_without_a_lock_stays(temporary: Path) -> None:
    (temporary / f"{PREFIX}other").mkdir()
    remove_leftovers()
    assert len(folders(temporary)) == 1


@pytest.mark.parametrize("name", ["pat[t]ern", "100%"])
def test_a_path_that_the_engine_would_take_for_a_pattern_is_told(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (temporary / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / name))
    with pytest.raises(SettingError) as error:
        Scratch()
    assert str(error.value) == (
        "TMPDIR: expected a folder for temporary files without characters such as * ? [ { % in its path; found "
        f"'{temporary / name}'. Mend TMPDIR in the environment."
    )
    assert [*(temporary / name).iterdir()] == []


def test_spaces_and_letters_of_any_language_are_plain(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (temporary / "größe a=b").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "größe a=b"))
    scratch = Scratch()
    assert scratch.path.parent.name == "größe a=b"
    scratch.remove()
