"""A team's pipeline, as .github/workflows/ci.yml has it, in a clean clone: what it runs beside `make`."""

import os
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
import yaml

from affirm_assets.lender.sample_data import write_sample_data
from affirm_assets.local_instance import prepare_instance

ROOT = Path(__file__).parents[2]
MATERIALIZE = "deploy/ci/materialize-sample"

pytestmark = pytest.mark.skipif(
    not shutil.which("git") or not (ROOT / ".git").exists(), reason="needs git, and a checkout to clone"
)


def commands() -> list[str]:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    return [step["run"] for step in workflow["jobs"]["books"]["steps"] if "run" in step]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With this environment's packages, but its own code; prepared as `make` prepares it."""
    folder = tmp_path_factory.mktemp("ci") / "clone"
    subprocess.run(["git", "clone", "--quiet", "--depth=1", ROOT.as_uri(), folder], check=True)
    (folder / ".venv").symlink_to(Path(sys.prefix))
    prepare_instance(folder)
    return folder


def run(clone: Path, command: str) -> subprocess.CompletedProcess[str]:
    """As a runner does: in the clone, by bash, with nothing of ours in the environment but the clone's code."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("AFFIRM_", "DAGSTER_"))}
    return subprocess.run(
        ["bash", "-e", "-c", command],
        cwd=clone,
        env={**environ, "PYTHONPATH": str(clone)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_definitions_are_validated_then_tested_then_a_sample_is_materialized() -> None:
    order = commands()
    validate = next(each for each in order if "definitions validate" in each)
    assert order.index(validate) < order.index("make test") < order.index(MATERIALIZE)
    assert {"make lint", "make typecheck"} <= set(order)


def test_every_verb_is_one_of_the_makefile() -> None:
    verbs = [each.split()[1] for each in commands() if each.startswith("make ")]
    makefile = (ROOT / "Makefile").read_text()
    assert verbs
    assert all(f"\n{verb}: " in makefile for verb in verbs)


def test_what_is_not_make_s_passes_in_a_clean_clone(clone: Path) -> None:
    ran = [run(clone, each) for each in commands() if not each.startswith("make ")]
    assert [done.returncode for done in ran] == [0, 0], "\n".join(done.stderr[-3000:] for done in ran)
    assert "loans.loans: 100 rows published" in ran[-1].stdout
    left = subprocess.run(["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True)
    assert left.stdout == "?? .venv\n"  # a link here, and a folder elsewhere, which git ignores
    assert not (clone / ".lake").exists()


def test_a_failed_audit_fails_the_build_and_is_named(clone: Path, tmp_path: Path) -> None:
    write_sample_data(tmp_path / "landing", loans=100, start=date(2025, 1, 1), days=3, seed=1)
    (tmp_path / "landing" / "loans" / "2025-01-02" / "unreadable.jsonl").write_text('{"loan_id" = "L1"}\n' * 50)
    done = run(clone, f"{MATERIALIZE} {tmp_path}/landing")
    assert done.returncode != 0
    assert "few_are_refused" in done.stdout + done.stderr
    assert "rows published" not in done.stdout


def test_a_sample_that_is_not_there_fails_the_build(clone: Path, tmp_path: Path) -> None:
    done = run(clone, f"{MATERIALIZE} {tmp_path}/nowhere")
    assert done.returncode != 0
    assert "nowhere" in done.stderr
