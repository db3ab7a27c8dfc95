"""The `affirm` command as a pod has it."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

import affirm_assets
from affirm_assets.cli import main
from affirm_assets.errors import AcceptanceRefused
from affirm_assets.steps.acceptance import Refuser

ROOT = Path(affirm_assets.__file__).parents[1]


def test_the_image_has_the_command_though_the_project_is_not_installed_there(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "AFFIRM_DEPLOYMENT": "local", "AFFIRM_LAKE": str(tmp_path)}
    command = [str(ROOT / "deploy/image/affirm"), "sample-data", "--loans", "3", "--start", "2025-01-01", "--days", "1"]
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "landing" / "loans" / "2025-01-01" / "_SUCCESS").exists()


@pytest.mark.parametrize(("have", "status"), [("10", 0), ("01", 0), ("11", 0), ("00", 1)])
def test_a_date_is_accepted_by_each_that_has_it_of_those_that_read_a_feed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, have: str, status: int
) -> None:
    @dataclass
    class Reader:
        table: str
        has_it: bool

        @property
        def dataset(self) -> "Reader":
            return self

        def accept(self, *_: object) -> int:
            if not self.has_it:
                raise AcceptanceRefused(f"{self.table}: expected a table, found none.")
            return 3

    readers = [Reader("landing.copies", have[0] == "1"), Reader("loans.loans", have[1] == "1")]
    monkeypatch.setattr(Refuser, "of", lambda *_: readers)
    command = ["accept", "loans", "2025-01-02", "--reason", "known to the partner", "--by", "E0007"]
    done = CliRunner().invoke(main, command, env={"AFFIRM_LAKE": str(tmp_path), "AFFIRM_DEPLOYMENT": "local"})
    assert done.exit_code == status
    for each in readers:
        assert (f"in the properties of {each.table}." in done.stdout) == each.has_it
        if status == 0:
            assert (f"Not accepted: {each.table}: expected a table" in done.stderr) != each.has_it
