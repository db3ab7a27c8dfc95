"""The `affirm` command as a pod has it."""

import os
import subprocess
import sys
from pathlib import Path

import affirm_assets

ROOT = Path(affirm_assets.__file__).parents[1]


def test_it_runs_as_a_module_where_it_is_not_installed(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "AFFIRM_DEPLOYMENT": "local", "AFFIRM_LAKE": str(tmp_path)}
    command = ["-m", "affirm_assets", "sample-data", "--loans", "3", "--start", "2025-01-01", "--days", "1"]
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "landing" / "loans" / "2025-01-01" / "_SUCCESS").exists()
